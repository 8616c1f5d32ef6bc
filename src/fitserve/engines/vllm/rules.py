"""vLLM's policy by version: defaults and thresholds, read from facts.toml and memory_rules.json."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from fitserve.engines.option_lists import header, scanned_versions
from fitserve.foundation.errors import FactMissing, InputError
from fitserve.foundation.facts import load_json, load_toml
from fitserve.foundation.reasons import Source
from fitserve.foundation.units import GIB
from fitserve.foundation.versions import nearest_not_above, parse_version, rows_for_version
from fitserve.hardware.types import Accelerator

PACKAGE = "fitserve.engines.vllm"


@lru_cache(maxsize=1)
def facts() -> Mapping[str, Any]:
    """facts.toml."""
    return load_toml(PACKAGE, "facts.toml")


@lru_cache(maxsize=64)
def feature(name: str, version: str | None = None) -> Any:
    """The value of a feature, at a version when it depends on one."""
    row = next(row for row in facts()["features"] if row["feature"] == name)
    if "by_version" not in row:
        return row["value"]
    found = rows_for_version(row["by_version"], version or versions()[-1])
    if not found:
        raise FactMissing(f"{name} of vLLM {version}", "src/fitserve/engines/vllm/facts.toml")
    return found[0]["value"]


def feature_source(name: str) -> Source:
    """Where a feature's value comes from."""
    row = next(row for row in facts()["features"] if row["feature"] == name)
    return Source(**row["source"])


@lru_cache(maxsize=1)
def versions() -> tuple[str, ...]:
    """Releases that were read, oldest first."""
    return tuple(load_json(PACKAGE, "memory_rules.json")["scanned"])


@lru_cache(maxsize=64)
def normal_version(text: str) -> str:
    """A PEP 440 version. Raises InputError for text that is none, or older than everything read."""
    try:
        parsed = parse_version(text.strip().removeprefix("v"))
    except ValueError as error:
        raise InputError.of("unknown_version", engine="vllm", given=text, newest=versions()[-1]) from error
    if parsed < parse_version(versions()[0]):
        raise InputError.of("unknown_version", engine="vllm", given=text, newest=versions()[-1])
    return str(parsed)


def is_newer(version: str) -> bool:
    """Whether a version is newer than every release that was read."""
    return parse_version(version) > parse_version(versions()[-1])


@lru_cache(maxsize=64)
def at_least(version: str, floor: str) -> bool:
    """Whether `version` is `floor` or newer."""
    return parse_version(version) >= parse_version(floor)


def options_version(version: str) -> str:
    """The scanned release whose option list stands for `version`."""
    known = scanned_versions(PACKAGE)
    return nearest_not_above(version, known) or min(known, key=parse_version)


@lru_cache(maxsize=1)
def json_keys() -> Mapping[str, Mapping[str, Any]]:
    """Keys of JSON options with the releases that have them (config_keys.json)."""
    return {row["option"]: row for row in load_json(PACKAGE, "config_keys.json")["rows"]}


@lru_cache(maxsize=1)
def registries() -> Mapping[str, Mapping[str, Any]]:
    """Tool-call parsers, reasoning parsers and quantization methods with the releases that have them (registries.json)."""
    found: dict[str, dict[str, Any]] = {}
    for row in load_json(PACKAGE, "registries.json")["rows"]:
        found.setdefault(row["list"], {})[row["value"]] = row["intervals"]
    return found


def release_header(version: str) -> Mapping[str, Any]:
    """Dependencies and method lists of the release."""
    return header(PACKAGE, options_version(version))


def _rule(name: str) -> Mapping[str, Any]:
    row: Mapping[str, Any] = next(row for row in load_json(PACKAGE, "memory_rules.json")["rows"] if row["rule"] == name)
    return row


@lru_cache(maxsize=64)
def default_utilization(version: str) -> float:
    """Default of --gpu-memory-utilization."""
    rows = rows_for_version(_rule("gpu_memory_utilization default")["by_version"], version)
    return float(rows[0]["value"])


def batch_defaults(version: str, device: Accelerator) -> tuple[int, int]:
    """(max_num_batched_tokens, max_num_seqs) of the server on this device (arg_utils.py of each release)."""
    rows = rows_for_version(_rule("max_num_batched_tokens and max_num_seqs defaults (server)")["by_version"], version)
    name, memory = device.name.lower(), device.memory_bytes
    for row in rows:
        if _condition_holds(row["condition"], name, memory, device.capability_number):
            # the V1 engine of 0.7 left max_num_seqs at the older default of 256
            return row["max_num_batched_tokens"], row["max_num_seqs"] or 256
    return 2048, 256


def _condition_holds(condition: str, name: str, memory_bytes: int, capability: int | None) -> bool:
    if condition.split("; ")[-1] == "else":
        return True
    if "h100 or h200" in condition:
        return "h100" in name or "h200" in name
    if "160 GiB" in condition:
        return memory_bytes >= 160 * GIB
    if "70 GiB" in condition:
        allowed = "a100" not in name if "a100" in condition else True
        return memory_bytes >= 70 * GIB and allowed and not ("12.1" in condition and capability == 121)
    return False
