"""llama.cpp's policy by build, read from facts.toml."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from fitserve.foundation.errors import InputError
from fitserve.foundation.facts import load_json, load_toml
from fitserve.foundation.reasons import Source

PACKAGE = "fitserve.engines.llama_cpp"
NEWEST = "v0.5.0"
_BUILD = re.compile(r"b?(\d{3,6})(?:\b.*)?", re.DOTALL)


@lru_cache(maxsize=1)
def facts() -> Mapping[str, Any]:
    """facts.toml."""
    return load_toml(PACKAGE, "facts.toml")


@lru_cache(maxsize=64)
def feature(name: str) -> Any:
    """The value of a feature."""
    return next(row for row in facts()["features"] if row["feature"] == name)["value"]


def feature_row(name: str) -> Mapping[str, Any]:
    """The whole row of a feature."""
    row: Mapping[str, Any] = next(row for row in facts()["features"] if row["feature"] == name)
    return row


def feature_source(name: str) -> Source:
    """Where a feature's value comes from."""
    return Source(**feature_row(name)["source"])


@lru_cache(maxsize=64)
def build_number(version: str) -> int:
    """The build of `b4747`, `5781 (c1d0…)` or a tag. Raises InputError for text that is none."""
    text = version.strip()
    tags: Mapping[str, int] = facts()["tags"]
    if text in tags or f"v{text}" in tags:
        return tags.get(text) or tags[f"v{text}"]
    match = _BUILD.fullmatch(text)
    if match is None:
        raise InputError.of("unknown_version", engine="llama.cpp", given=version, newest=NEWEST)
    return int(match[1])


def normal_version(version: str) -> str:
    """`b4747` or a tag. Raises InputError for text that is none."""
    text = version.strip()
    tag = next((name for name in (text, f"v{text}") if name in facts()["tags"]), None)
    return tag or f"b{build_number(text)}"


def is_newer(version: str) -> bool:
    """Whether a version is newer than every build that was read."""
    return build_number(version) > build_number(NEWEST)


def versions() -> tuple[str, ...]:
    """Builds whose option list is known, oldest first."""
    return ("b4000", "b4747", NEWEST)


def options_version(version: str) -> str:
    """The scanned build whose option list stands for `version`: the newest one that is not newer."""
    number = build_number(version)
    older = [name for name in versions() if build_number(name) <= number]
    return older[-1] if older else versions()[0]


@lru_cache(maxsize=1)
def architectures() -> Mapping[str, Mapping[str, Any]]:
    """Rows of architectures.json by GGUF architecture."""
    return {row["architecture"]: row for row in load_json(PACKAGE, "architectures.json")["rows"]}
