"""ExLlamaV3's policy by release, read from facts.toml."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from fitserve.engines.option_lists import scanned_versions
from fitserve.engines.releases import Releases
from fitserve.foundation.facts import load_json, load_toml
from fitserve.foundation.reasons import Source
from fitserve.foundation.versions import rows_for_version

PACKAGE = "fitserve.engines.exllamav3"
TITLE = "ExLlamaV3"


@lru_cache(maxsize=1)
def facts() -> Mapping[str, Any]:
    """facts.toml."""
    return load_toml(PACKAGE, "facts.toml")


@lru_cache(maxsize=64)
def feature_row(name: str) -> Mapping[str, Any]:
    """The whole row of a feature."""
    row: Mapping[str, Any] = next(row for row in facts()["features"] if row["feature"] == name)
    return row


def feature(name: str, version: str | None = None) -> Any:
    """The value of a feature, at a release where it depends on one."""
    row = feature_row(name)
    if version is None or "by_version" not in row:
        return row["value"]
    return rows_for_version(row["by_version"], version)[0]["value"]


def feature_source(name: str) -> Source:
    """Where a feature's value comes from."""
    return Source(**feature_row(name)["source"])


@lru_cache(maxsize=1)
def architectures() -> Mapping[str, Mapping[str, Any]]:
    """Rows of architectures.json by name."""
    return {row["architecture"]: row for row in load_json(PACKAGE, "architectures.json")["rows"]}


RELEASES = Releases("exllamav3", tuple(load_json(PACKAGE, "architectures.json")["scanned"]))


def options_version(version: str) -> str:
    """The release whose list of keys stands for `version`."""
    return RELEASES.nearest(version, scanned_versions(PACKAGE))
