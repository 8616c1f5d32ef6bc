"""The tables of signatures: those of every engine's folder and the common ones, indexed by the words that find them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from fitserve.diagnose.types import ROOT, Rule
from fitserve.engines.registry import ENTRIES
from fitserve.foundation.facts import load_json, load_toml
from fitserve.models.catalog.lookup import rows

_PACKAGE = "fitserve.diagnose"
_KINDS = (("failures", "failure", "category"), ("figures", "figure", ""), ("marks", "mark", "mark"))

_WIDE = ("\\s", "\\n", "[^", "^", "$")
"""Signs of a pattern that may match over the end of a line, or that needs the line without what stands before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """All rules by their words, and the words that only one engine's log holds."""

    rules: tuple[Rule, ...]
    by_word: Mapping[bytes, tuple[Rule, ...]]
    words: frozenset[bytes]
    fingerprints: Mapping[bytes, str]
    """Word to engine; an empty name is any of them."""


@lru_cache(maxsize=1)
def table() -> Table:
    """The rules of this package."""
    rules: list[Rule] = []
    fingerprints: dict[bytes, str] = {}
    for engine_id, package in [*((entry.id, entry.package) for entry in ENTRIES), (None, _PACKAGE)]:
        content = load_toml(package, "failures.toml")
        rules += _rules(content, engine_id, len(rules))
        for word in content.get("fingerprint", ()):
            fingerprints[word.encode()] = engine_id or ""
    by_word: dict[bytes, list[Rule]] = {}
    for rule in rules:
        for word in rule.words:
            by_word.setdefault(word, []).append(rule)
    return Table(
        rules=tuple(rules),
        by_word={word: tuple(listed) for word, listed in by_word.items()},
        words=frozenset(by_word),
        fingerprints=fingerprints,
    )


def _rules(content: Mapping[str, Any], engine_id: str | None, first: int) -> Iterator[Rule]:
    order = first
    for key, kind, name in _KINDS:
        for row in content.get(key, ()):
            yield Rule(
                kind=kind,
                name=row.get(name, ""),
                pattern=re.compile(row["pattern"], re.MULTILINE),
                words=tuple(_encoded(row["words"])),
                engine=engine_id,
                order=order,
                tier=row.get("tier", cause_row(row["category"]).get("tier", ROOT)) if kind == "failure" else ROOT,
                needs_context=row.get("context", False),
                check=row.get("check"),
                is_wide=any(sign in row["pattern"] for sign in _WIDE),
            )
            order += 1


def _encoded(words: list[str]) -> Iterator[bytes]:
    """Words as logs hold them; Korean ones also in the code page of Windows."""
    for word in words:
        yield word.encode()
        if not word.isascii():
            yield word.encode("cp949")


def cause_row(category: str) -> Mapping[str, Any]:
    """What is known of a category beside its texts: its tier, its remedies, what it outranks."""
    row: Mapping[str, Any] = load_toml(_PACKAGE, "causes.toml")["causes"].get(category, {})
    return row


def remedy_row(code: str) -> Mapping[str, Any]:
    """What a remedy changes."""
    row: Mapping[str, Any] = load_toml(_PACKAGE, "causes.toml")["remedies"].get(code, {})
    return row


@lru_cache(maxsize=1)
def categories() -> tuple[str, ...]:
    """The vocabulary of causes that measured cases use."""
    return tuple(row["category"] for row in load_json(_PACKAGE, "categories.json")["rows"])


@lru_cache(maxsize=1)
def model_types() -> frozenset[str]:
    """Names of model kinds and architectures as configurations write them."""
    names: set[str] = set()
    for row in rows().values():
        config = row["config"]
        for part in (config, *(value for value in config.values() if isinstance(value, dict))):
            names |= {part["model_type"]} if isinstance(part.get("model_type"), str) else set()
        names |= {name for name in config.get("architectures") or () if isinstance(name, str)}
    return frozenset(names)
