"""Transformers: policy by release, read from facts.toml."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from fitserve.engines.option_lists import scanned_versions
from fitserve.engines.releases import Releases
from fitserve.foundation.facts import load_json, load_toml
from fitserve.foundation.reasons import Source
from fitserve.foundation.versions import parse_version

PACKAGE = "fitserve.engines.transformers"
RELEASES = Releases("transformers", tuple(sorted(scanned_versions(PACKAGE), key=parse_version)))
"""Releases whose option list was read."""


@lru_cache(maxsize=1)
def facts() -> Mapping[str, Any]:
    """facts.toml."""
    return load_toml(PACKAGE, "facts.toml")


@lru_cache(maxsize=64)
def _row(name: str) -> Mapping[str, Any]:
    row: Mapping[str, Any] = next(row for row in facts()["features"] if row["feature"] == name)
    return row


def feature(name: str) -> Any:
    """The value of a feature."""
    return _row(name)["value"]


def feature_spread(name: str) -> int:
    """How far an estimated feature may lie off, either way."""
    return int(_row(name)["spread"])


def feature_source(name: str) -> Source:
    """Where a feature's value comes from."""
    return Source(**_row(name)["source"])


@lru_cache(maxsize=1)
def architectures() -> Mapping[str, Mapping[str, Any]]:
    """Rows of architectures.json by class."""
    return {row["architecture"]: row for row in load_json(PACKAGE, "architectures.json")["rows"]}
