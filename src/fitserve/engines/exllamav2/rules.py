"""ExLlamaV2's policy, read from facts.toml."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from fitserve.engines.option_lists import scanned_versions
from fitserve.engines.releases import Releases
from fitserve.foundation.facts import load_json, load_toml
from fitserve.foundation.reasons import Source

PACKAGE = "fitserve.engines.exllamav2"
TITLE = "ExLlamaV2"


@lru_cache(maxsize=1)
def facts() -> Mapping[str, Any]:
    """facts.toml."""
    return load_toml(PACKAGE, "facts.toml")


@lru_cache(maxsize=64)
def feature_row(name: str) -> Mapping[str, Any]:
    """The whole row of a feature."""
    row: Mapping[str, Any] = next(row for row in facts()["features"] if row["feature"] == name)
    return row


def feature(name: str) -> Any:
    """The value of a feature."""
    return feature_row(name)["value"]


def feature_source(name: str) -> Source:
    """Where a feature's value comes from."""
    return Source(**feature_row(name)["source"])


@lru_cache(maxsize=1)
def architectures() -> Mapping[str, Mapping[str, Any]]:
    """Rows of architectures.json by name."""
    return {row["architecture"]: row for row in load_json(PACKAGE, "architectures.json")["rows"]}


RELEASES = Releases("exllamav2", tuple(load_json(PACKAGE, "architectures.json")["scanned"]))


def options_version(version: str) -> str:
    """The release whose list of keys stands for `version`."""
    return RELEASES.nearest(version, scanned_versions(PACKAGE))
