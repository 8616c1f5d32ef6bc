"""TGI's policy, read from facts.toml."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from fitserve.engines.option_lists import scanned_versions
from fitserve.engines.releases import Releases
from fitserve.foundation.facts import load_toml
from fitserve.foundation.reasons import Source

PACKAGE = "fitserve.engines.tgi"


@lru_cache(maxsize=1)
def facts() -> Mapping[str, Any]:
    """facts.toml."""
    return load_toml(PACKAGE, "facts.toml")


RELEASES = Releases("tgi", tuple(facts()["identity"]["versions"]))


def options_version(version: str) -> str:
    """The release whose option list stands for `version`."""
    return RELEASES.nearest(version, scanned_versions(PACKAGE))


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
