"""Ollama's policy by release, read from facts.toml and architectures.json."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from fitserve.engines.option_lists import option_names
from fitserve.engines.releases import Releases, at_least
from fitserve.foundation.facts import load_json, load_toml
from fitserve.foundation.reasons import Source
from fitserve.foundation.units import GIB
from fitserve.hardware.types import Machine
from fitserve.models.types import LanguageModel

PACKAGE = "fitserve.engines.ollama"
LLAMA_SERVER_SINCE = "0.30.0"
RELEASES = Releases("ollama", ("0.24.0", LLAMA_SERVER_SINCE, "0.31.0", "0.32.15"))
_VISION_LLAMA = ("MllamaForConditionalGeneration", "mllama")


@lru_cache(maxsize=1)
def facts() -> Mapping[str, Any]:
    """facts.toml."""
    return load_toml(PACKAGE, "facts.toml")


def feature(name: str) -> Any:
    """The value of a feature."""
    return _row(name)["value"]


def source(name: str) -> Source:
    """Where a feature's value comes from."""
    return Source(**_row(name)["source"])


@lru_cache(maxsize=64)
def _row(name: str) -> Mapping[str, Any]:
    row: Mapping[str, Any] = next(row for row in facts()["features"] if row["feature"] == name)
    return row


def runs_llama_server(version: str) -> bool:
    """Whether a release starts llama-server (0.30 and later) in place of a runner of its own."""
    return at_least(version, LLAMA_SERVER_SINCE)


@lru_cache(maxsize=1)
def _table() -> Mapping[str, Any]:
    content: Mapping[str, Any] = load_json(PACKAGE, "architectures.json")
    return content


@lru_cache(maxsize=1)
def architectures() -> Mapping[str, Mapping[str, Any]]:
    """Rows of architectures.json by GGUF architecture."""
    return {row["architecture"]: row for row in _table()["rows"]}


def gguf_architecture(model: LanguageModel) -> str | None:
    """The architecture as Ollama names it; Llama 3.2 Vision has a name that only Ollama knew."""
    return _VISION_LLAMA[1] if model.architecture == _VISION_LLAMA[0] else model.gguf_architecture


def first_release(row: Mapping[str, Any]) -> str:
    """The first release that knows an architecture, through either runner."""
    known = [str(row[key]).removeprefix("v") for key in ("llama_cpp_runner", "ollama_engine") if row[key]]
    return next(version for version in known if all(at_least(other, version) for other in known))


@lru_cache(maxsize=64)
def llama_cpp_build(version: str) -> str:
    """The build whose memory law holds for a release: its pin, or before 0.30 the build that its vendored tree is like."""
    if runs_llama_server(version):
        pins = {name.removeprefix("v"): build for name, build in _table()["vendored_llama_cpp_commit"].items()}
        return str(pins[RELEASES.nearest(version, [name for name in pins if runs_llama_server(name)])])
    laws: Mapping[str, str] = feature("law_build_of_own_runners")
    return laws[RELEASES.nearest(version, laws)]


def default_context_tokens(machine: Machine) -> int:
    """The context that a request gets when neither it nor the Modelfile nor the environment says one."""
    total = sum(device.engine_visible_bytes for device in machine.devices)
    for tier in feature("default_context"):
        if total >= tier["from_gib"] * GIB:
            return int(tier["tokens"])
    raise AssertionError("the last tier starts at zero")


@lru_cache(maxsize=1)
def known_names() -> frozenset[str]:
    """Names of parameters, options and environment variables, in lower case."""
    return frozenset(name.lower() for name in option_names(PACKAGE, RELEASES.newest))
