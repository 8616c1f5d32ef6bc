"""The policy of text-generation-webui, read from facts.toml."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from fitserve.engines.releases import Releases
from fitserve.foundation.facts import load_toml
from fitserve.foundation.reasons import Source

PACKAGE = "fitserve.engines.text_generation_webui"
RELEASES = Releases("text-generation-webui", ("4.7.3",))


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


@lru_cache(maxsize=16)
def _row(name: str) -> Mapping[str, Any]:
    row: Mapping[str, Any] = next(row for row in facts()["features"] if row["feature"] == name)
    return row
