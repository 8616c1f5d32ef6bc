"""SGLang's facts by release."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from fitserve.engines.fact_rows import FactRows
from fitserve.engines.option_lists import option_names, option_row, scanned_versions
from fitserve.engines.releases import Releases, at_least
from fitserve.foundation.facts import load_json
from fitserve.foundation.versions import parse_version

PACKAGE = "fitserve.engines.sglang"
FACTS = FactRows(PACKAGE)


@lru_cache(maxsize=1)
def releases() -> Releases:
    """Releases whose sources were read."""
    scanned = load_json(PACKAGE, "architectures.json")["scanned"]
    return Releases("sglang", tuple(sorted(scanned, key=parse_version)))


def options_version(version: str) -> str:
    """The release whose full option list stands for `version`."""
    return releases().nearest(version, scanned_versions(PACKAGE))


def known_options(version: str) -> frozenset[str]:
    """Every spelling that a release accepts."""
    return option_names(PACKAGE, options_version(version))


def option(version: str, name: str) -> Mapping[str, Any] | None:
    """The row of an option; None when the release does not know it."""
    return option_row(PACKAGE, options_version(version), name)


@lru_cache(maxsize=1)
def _architectures() -> Mapping[str, Mapping[str, Any]]:
    return {row["architecture"]: row for row in load_json(PACKAGE, "architectures.json")["rows"]}


def architecture_row(name: str) -> Mapping[str, Any] | None:
    """First release with a model class; None when no scanned release has it."""
    return _architectures().get(name) or _architectures().get(FACTS.table["architecture_names"].get(name, ""))


@lru_cache(maxsize=1)
def _methods() -> Mapping[str, Mapping[str, Any]]:
    return {row["method"]: row for row in load_json(PACKAGE, "quantization.json")["rows"]}


def methods_of(format_name: str, version: str) -> tuple[str, ...]:
    """Quantization methods of this release that read a format."""
    wanted = "gguf:*" if format_name.startswith("gguf:") else format_name
    found = []
    for name in FACTS.value("methods_of_format").get(wanted, ()):
        row = _methods()[name]
        if at_least(version, row["in"]) and not (row["gone_in"] and at_least(version, row["gone_in"])):
            found.append(name)
    return tuple(found)


def first_release_of(format_name: str) -> str | None:
    """The first scanned release that reads a format; None when none does."""
    wanted = "gguf:*" if format_name.startswith("gguf:") else format_name
    names = FACTS.value("methods_of_format").get(wanted, ())
    return min((_methods()[name]["in"] for name in names), key=parse_version, default=None)


def capability_of(format_name: str, version: str) -> int | None:
    """The least compute capability with which this release reads a format (75 is 7.5); None when nothing is demanded."""
    demands = []
    for name in methods_of(format_name, version):
        runs = [run for run in _methods()[name]["min_capability"] if at_least(version, run["from"])]
        if runs and runs[-1]["value"]:
            demands.append(runs[-1]["value"])
    lowest = min(demands) if demands else None
    own: int | None = FACTS.value("scheme_capability").get(format_name)
    return own if lowest is None or (own is not None and format_name in {"w4a16", "int8-w8a8"}) else lowest


def windows_apart(architecture: str, version: str) -> bool:
    """Whether the windowed layers of a model get a pool of their own, smaller than that of the full layers."""
    if not at_least(version, FACTS.value("window_pool_from")):
        return False
    rows = load_json(PACKAGE, "windowed_architectures.json")["rows"]
    held = [row for row in rows if at_least(version, row["from"])]
    if not held or not held[-1]["architectures"]:
        return architecture != "Llama4ForConditionalGeneration"  # every class with a window but Llama 4
    return architecture in held[-1]["architectures"]
