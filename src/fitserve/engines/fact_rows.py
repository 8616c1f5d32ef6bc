"""Reads the `features` rows of an engine's facts.toml: a value, or values by release."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fitserve.foundation.errors import FactMissing
from fitserve.foundation.facts import load_toml
from fitserve.foundation.reasons import Source
from fitserve.foundation.versions import rows_for_version


@dataclass(frozen=True, slots=True)
class FactRows:
    """Facts of one engine folder."""

    package: str

    @property
    def table(self) -> Mapping[str, Any]:
        """facts.toml."""
        return load_toml(self.package, "facts.toml")

    def row(self, feature: str) -> Mapping[str, Any]:
        """The whole row of a feature."""
        row: Mapping[str, Any] = next(row for row in self.table["features"] if row["feature"] == feature)
        return row

    def value(self, feature: str, version: str | None = None) -> Any:
        """The value of a feature, at a release when it depends on one. Raises FactMissing for a release without."""
        row = self.row(feature)
        if "by_version" not in row:
            return row["value"]
        found = rows_for_version(row["by_version"], version or "9999")
        if not found:
            raise FactMissing(f"{feature} at {version}", f"{self.package.replace('.', '/')}/facts.toml")
        return found[0]["value"]

    def source(self, feature: str) -> Source:
        """Where the value comes from."""
        return Source(**self.row(feature)["source"])
