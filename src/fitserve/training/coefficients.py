"""Coefficients of memory and time that `tools/fit_finetune.py` fits, by the group of measurements (stack)."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from fitserve.foundation.facts import load_json

_TRIAL: ContextVar[Mapping[str, Any] | None] = ContextVar("trial coefficients", default=None)


def data() -> Mapping[str, Any]:
    """The file of coefficients, or the ones on trial."""
    found: Mapping[str, Any] = _TRIAL.get() or load_json("fitserve.training.data", "finetune.json")
    return found


@contextmanager
def trial(content: Mapping[str, Any]) -> Iterator[None]:
    """Other coefficients while a fit tries them."""
    token = _TRIAL.set(content)
    try:
        yield
    finally:
        _TRIAL.reset(token)


def coefficient(stack: str, name: str) -> float:
    """A coefficient of a stack, or the one of all stacks."""
    content = data()
    own = content["stacks"].get(stack, {})
    return float(own.get(name, content["common"][name]))


def spread(stack: str, metric: str) -> tuple[float, float]:
    """(below, above): relative errors that about nine in ten held-out cases of a stack stayed inside."""
    rows = data()["spread"]
    row = rows.get(f"{stack} {metric}") or rows[f"other {metric}"]
    return float(row[0]), float(row[1])
