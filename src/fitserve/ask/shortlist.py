"""Which models of the catalogue are worth judging for a machine and a purpose: the rest would be judged in vain."""

from collections.abc import Mapping
from typing import Any

from fitserve.foundation.facts import load_toml
from fitserve.models.catalog.lookup import rows
from fitserve.plan.answer import purpose_of
from fitserve.predict.model_quality import place
from fitserve.search.alternatives import is_chat

_MOST = 26
_LEAST_BITS = 3.4


def shortlist(memory_bytes: int, use: str, korean: bool) -> tuple[str, ...]:
    """Ids of models whose weights have room at three bits and more, by their rank for the purpose, then newest and largest."""
    chats = [row for row in rows().values() if is_chat(row) and row["total_params"] and _has_room(row, memory_bytes)]
    if korean:
        chats = [row for row in chats if "korean" in (row["tags"] or ())] or chats
    purpose = purpose_of(use)
    ranked = [(place(row["id"], purpose), row) for row in chats]
    known = sorted(((rank.likely, row["id"]) for rank, row in ranked if rank is not None), reverse=True)
    newest = sorted(chats, key=lambda row: (row["release_date"] or "", row["total_params"]), reverse=True)
    large = sorted(chats, key=lambda row: row["total_params"], reverse=True)
    named = [model_id for model_id in _usual() if any(row["id"] == model_id for row in chats)]
    found = [
        *(model_id for _, model_id in known[:12]),
        *(row["id"] for row in large[:6]),
        *(row["id"] for row in newest[:4]),
        *named,
    ]
    return tuple(dict.fromkeys(found))[:_MOST]


def _has_room(row: Mapping[str, Any], memory_bytes: int) -> bool:
    return bool(row["total_params"] * _LEAST_BITS / 8 <= memory_bytes)


def _usual() -> tuple[str, ...]:
    """The models that a size alone stands for: those people know."""
    table = load_toml("fitserve.ask", "words.toml")["sizes"]
    return tuple(value for value in table.values() if isinstance(value, str))
