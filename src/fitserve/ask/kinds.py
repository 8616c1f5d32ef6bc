"""Which question it is, from its cues and from what it names."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from fitserve.foundation.facts import load_toml

_STRONG, _USUAL = 3, 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a question names, as far as the kind depends on it."""

    models: int
    gpus: int
    engines: int
    formats: int
    has_hardware: bool
    has_money: bool
    has_hours: bool
    has_method: bool
    errors: int
    users: int | None


@lru_cache(maxsize=1)
def _cues() -> Mapping[str, tuple[re.Pattern[str], re.Pattern[str] | None, re.Pattern[str] | None]]:
    """Strong, usual and never patterns of each kind. ASCII: a Korean particle ends an English word."""
    table: dict[str, Any] = {}
    for kind, row in load_toml("fitserve.ask", "kinds.toml").items():
        table[kind] = tuple(
            re.compile("|".join(f"(?:{p})" for p in row[name]), re.ASCII) if row.get(name) else None
            for name in ("strong", "usual", "never")
        )
    return table


def scores(text: str) -> dict[str, int]:
    """Weight of the cues of each kind in a question."""
    lower = text.lower()
    found: dict[str, int] = {}
    for kind, (strong, usual, never) in _cues().items():
        if never is not None and never.search(lower):
            continue
        weight = _STRONG * bool(strong and strong.search(lower)) + _USUAL * bool(usual and usual.search(lower))
        if weight:
            found[kind] = weight
    return found


def kind_of(text: str, found: Found) -> str:
    """The kind of a question; `unclear` when nothing says what is asked or about what."""
    cues = scores(text)
    rules: tuple[tuple[str, Callable[[Mapping[str, int], Found], bool]], ...] = (
        ("failure", _is_failure),
        ("finetune", lambda c, f: f.has_method or c.get("finetune", 0) >= _STRONG),
        ("cost", _is_cost),
        ("quantize", lambda c, f: c.get("quantize", 0) >= _STRONG and c.get("compare", 0) < _STRONG),
        ("compare", _is_compare),
        ("quant", _is_quant),
        ("buy", _is_buy),
        ("whatfits", _is_whatfits),
        ("users", lambda c, f: c.get("users", 0) >= _STRONG),
        ("context", lambda c, f: c.get("context", 0) >= _STRONG),
        ("speed", lambda c, f: c.get("speed", 0) >= _STRONG),
        ("engine", lambda c, f: c.get("engine", 0) >= _STRONG),
        ("users", lambda c, f: "users" in c and f.users is not None and f.users > 1 and c.get("howto", 0) < _STRONG),
        ("fit", lambda c, f: c.get("fit", 0) >= _STRONG and c.get("howto", 0) < _STRONG),
        ("howto", lambda c, f: c.get("howto", 0) >= _STRONG),
        ("fit", lambda c, f: c.get("fit", 0) >= _USUAL and bool(f.models)),
        ("fit", lambda c, f: bool(f.models) and f.has_hardware),
        ("whatfits", lambda c, f: f.has_hardware),
        ("howto", lambda c, f: bool(f.models) and "howto" in c),
    )
    if not _names_anything(found):
        return "unclear"
    kind = next((kind for kind, holds in rules if holds(cues, found)), "unclear")
    return "unclear" if _lacks(kind, text.lower(), found) else kind


def _names_anything(found: Found) -> bool:
    counts = found.models + found.gpus + found.engines + found.formats + found.errors
    return bool(counts) or found.has_hardware or found.has_money or found.has_method


_ASKS_MEMORY = re.compile(r"vram|메모리|memory|how (much|many g)|얼마|몇 ?(기가|gb)|\bram\b|용량|크기|size")


def _lacks(kind: str, text: str, found: Found) -> bool:
    """Whether a piece is missing that nothing sensible stands in for."""
    if kind in {"speed", "users"}:
        return not (found.models and found.has_hardware)
    if kind == "context":
        return not found.models
    if kind == "fit" and not found.has_hardware:
        return not _ASKS_MEMORY.search(text)
    if kind in {"quant", "howto", "buy", "fit"}:
        return not (found.models or found.has_hardware)
    return kind == "finetune" and not found.models and not found.has_hardware


def _is_failure(cues: Mapping[str, int], found: Found) -> bool:
    if found.errors or cues.get("failure", 0) >= _STRONG:
        return "failure" in cues
    return cues.get("failure", 0) >= _USUAL and not _asks_otherwise(cues)


def _asks_otherwise(cues: Mapping[str, int]) -> bool:
    return any(
        cues.get(kind, 0) >= _STRONG for kind in ("users", "context", "speed", "whatfits", "buy", "cost", "compare")
    )


def _is_cost(cues: Mapping[str, int], found: Found) -> bool:
    if cues.get("cost", 0) >= _STRONG:
        return cues.get("buy", 0) < _STRONG or found.has_hours or found.gpus > 0
    return cues.get("cost", 0) >= _USUAL and found.has_money and found.has_hours


def _is_compare(cues: Mapping[str, int], found: Found) -> bool:
    several = max(found.models, found.gpus, found.engines, found.formats) >= 2
    if not several:
        return False
    if cues.get("compare", 0) >= _STRONG:
        return True
    if cues.get("quant", 0) >= _STRONG and found.formats >= 2:
        return False
    if cues.get("engine", 0) >= _STRONG and max(found.models, found.gpus, found.formats) < 2 and "speed" not in cues:
        return False
    return cues.get("compare", 0) >= _USUAL and (
        found.models >= 2 or found.gpus >= 2 or found.engines >= 2 or found.formats >= 2
    )


def _is_quant(cues: Mapping[str, int], found: Found) -> bool:
    return cues.get("quant", 0) >= _STRONG and bool(found.models or found.has_hardware or found.formats)


def _is_buy(cues: Mapping[str, int], found: Found) -> bool:
    if cues.get("buy", 0) < _STRONG:
        return False
    if cues.get("engine", 0) >= _STRONG:
        return False
    return not (found.models == 0 and found.has_hardware and cues.get("whatfits", 0) >= _STRONG)


def _is_whatfits(cues: Mapping[str, int], found: Found) -> bool:
    if found.models:
        return False
    if cues.get("whatfits", 0) >= _STRONG:
        return True
    return "whatfits" in cues and found.has_hardware
