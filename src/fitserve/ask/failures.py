"""Failures that a question quotes: the signatures of the engines, and the words by which people name them."""

import re
from collections.abc import Iterator
from functools import lru_cache

from fitserve.engines.registry import ENTRIES
from fitserve.foundation.facts import load_toml


def quoted_failures(text: str) -> tuple[str, ...]:
    """Categories whose message stands in the text, root causes first; empty when nothing known is quoted."""
    found = [category for pattern, category in _spoken() if pattern.search(text)]
    found += [category for pattern, category in _signatures() if pattern.search(text)]
    return tuple(dict.fromkeys(found))


@lru_cache(maxsize=1)
def _spoken() -> tuple[tuple[re.Pattern[str], str], ...]:
    rows = load_toml("fitserve.ask", "failures.toml")["failures"]
    return tuple((re.compile(row["pattern"], re.IGNORECASE | re.ASCII), row["category"]) for row in rows)


@lru_cache(maxsize=1)
def _signatures() -> tuple[tuple[re.Pattern[str], str], ...]:
    return tuple(_of_engines())


def _of_engines() -> Iterator[tuple[re.Pattern[str], str]]:
    for entry in ENTRIES:
        for row in load_toml(entry.package, "failures.toml")["failures"]:
            yield re.compile(row["pattern"], re.MULTILINE), row["category"]
