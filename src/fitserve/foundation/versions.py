"""Versions are strings; ranges are `from`/`to` pairs of releases or PEP 440 sets. No match means unknown, never no."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from packaging.version import InvalidVersion, Version


@lru_cache(maxsize=4096)
def parse_version(text: str) -> Version:
    """A comparable version; raises ValueError for text that is none."""
    try:
        return Version(text)
    except InvalidVersion as error:
        raise ValueError(text) from error


def in_range(version: str, start: str | None, end: str | None) -> bool:
    """Whether `version` lies between the releases `start` and `end`, both included; None is open."""
    wanted = parse_version(version)
    if start is not None and wanted < parse_version(start):
        return False
    return end is None or wanted <= parse_version(end)


def rows_for_version(rows: Sequence[Mapping[str, Any]], version: str) -> list[Mapping[str, Any]]:
    """The rows whose `from`/`to` hold `version`. A version between two scanned ranges takes the earlier one."""
    exact = [row for row in rows if in_range(version, row.get("from"), row.get("to"))]
    if exact:
        return exact
    wanted = parse_version(version)
    earlier = [row for row in rows if row.get("from") is None or parse_version(row["from"]) <= wanted]
    if not earlier:
        return []
    newest = max((row.get("from") or "0" for row in earlier), key=parse_version)
    return [row for row in earlier if (row.get("from") or "0") == newest]


def nearest_not_above(version: str, known: Sequence[str]) -> str | None:
    """The newest of `known` that is not newer than `version`; None when all are newer."""
    wanted = parse_version(version)
    older = [item for item in known if parse_version(item) <= wanted]
    return max(older, key=parse_version) if older else None
