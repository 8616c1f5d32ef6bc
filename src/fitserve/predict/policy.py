"""How the batching engines schedule and what they fuse, where it decides speed: rows of policy.toml."""

from collections.abc import Mapping
from typing import Any

from fitserve.foundation.errors import FactMissing
from fitserve.foundation.facts import load_toml


def batching_engines() -> frozenset[str]:
    """Engines that policy.toml knows."""
    return frozenset(row["engine"] for row in load_toml("fitserve.predict", "policy.toml")["engines"])


def policy_of(engine: str) -> Mapping[str, Any]:
    """The row of an engine in policy.toml. Raises FactMissing."""
    rows: list[Mapping[str, Any]] = load_toml("fitserve.predict", "policy.toml")["engines"]
    row = next((item for item in rows if item["engine"] == engine), None)
    if row is None:
        raise FactMissing(f"batching policy of {engine}", "predict/policy.toml")
    return row
