"""Published benchmark figures, read from the packed tables, and which of them count for a purpose."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from fitserve.foundation.facts import load_json, load_toml

_PACKAGE: Final = "fitserve.predict.data"
_AREAS: Final = ("general", "reasoning", "tasks", "long_and_korean")
THINKING: Final = "thinking"
DIRECT: Final = "direct"
UNSTATED: Final = "unstated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One printed result. `table` and `setting` name what it may be compared with; `source` is where it was printed.

    `mode` is what the reporter calls it (thinking, non-thinking, high, low; None: not stated); `runs` is how the model
    answers: thinking, low (the low effort level), direct, or unstated (it can think, and nobody said whether it did).
    `half_interval` is the printed 95 % interval of a rating.
    """

    model: str
    benchmark: str
    setting: str | None
    table: str
    mode: str | None
    runs: str
    value: float
    unit: str
    reporter: str
    source: str
    date: str
    doubt: str | None
    half_interval: float | None

    @property
    def reporter_kind(self) -> str:
        """maker (its own model), other maker (a competitor's table), or independent."""
        return self.reporter.partition(":")[0]

    @property
    def group(self) -> tuple[str, str | None, str]:
        """Figures of one group were printed side by side, for one test in one setting."""
        return self.benchmark, self.setting, self.table


@lru_cache(maxsize=1)
def settings() -> Mapping[str, Any]:
    """What counts for which purpose, and how much."""
    return load_toml(_PACKAGE, "purposes.toml")


@lru_cache(maxsize=1)
def purposes() -> Mapping[str, Mapping[str, float]]:
    """Weight of each benchmark by purpose."""
    return {row["name"]: row["benchmarks"] for row in settings()["purposes"]}


@lru_cache(maxsize=1)
def model_purposes() -> Mapping[str, Mapping[str, Any]]:
    """What each catalogue model is for, by id: base, korean, tool_calling, vision, reasoning_mode, commercial_use."""
    table = load_json("fitserve.models.catalog", "purposes.json")
    return {row[0]: dict(zip(table["columns"], row, strict=True)) for row in table["rows"]}


def _runs(model: str, mode: str | None) -> str:
    if mode is None:
        way = model_purposes()[model]["reasoning_mode"] if model in model_purposes() else "unknown"
        return {"thinking only": THINKING, "no": DIRECT, "unknown": DIRECT}.get(way, UNSTATED)
    if mode == "low":
        return "low"
    return THINKING if mode in settings()["mode"]["thinking"] else DIRECT


def _unpack(content: Mapping[str, Any]) -> list[Figure]:
    columns = content["columns"]
    figures = []
    for row in content["rows"]:
        cells = {
            name: content[name][cell] if name in content else cell for name, cell in zip(columns, row, strict=False)
        }
        figures.append(
            Figure(
                **{"half_interval": None, **cells},
                unit=content["units"][cells["benchmark"]],
                runs=_runs(cells["model"], cells["mode"]),
            )
        )
    return figures


@lru_cache(maxsize=1)
def figures() -> tuple[Figure, ...]:
    """All figures that some purpose counts."""
    return tuple(figure for area in _AREAS for figure in _unpack(load_json(_PACKAGE, f"benchmarks_{area}.json")))


@lru_cache(maxsize=1)
def groups() -> Mapping[tuple[str, str | None, str], tuple[Figure, ...]]:
    """Figures that may be compared with each other."""
    found: dict[tuple[str, str | None, str], list[Figure]] = defaultdict(list)
    for figure in figures():
        found[figure.group].append(figure)
    return {group: tuple(members) for group, members in found.items()}


@lru_cache(maxsize=1)
def by_model() -> Mapping[str, tuple[Figure, ...]]:
    """Figures of each model."""
    found: dict[str, list[Figure]] = defaultdict(list)
    for figure in figures():
        found[figure.model].append(figure)
    return {model: tuple(members) for model, members in found.items()}


@lru_cache(maxsize=1)
def _noise() -> Mapping[str, Mapping[str, Any]]:
    return {name: row for row in settings()["noise"] for name in row["names"]}


def chance_error(figure: Figure) -> float:
    """Standard error of a figure in its own unit: binomial from the number of questions, or as printed."""
    if figure.half_interval is not None:
        return figure.half_interval / 1.96  # the printed interval is of 95 %
    row = _noise().get(figure.benchmark, _noise()["*"])
    if "noise" in row:
        return float(row["noise"])
    questions: int = row["questions"]
    share = min(max(figure.value, 0.0), 100.0) / 100
    adjusted = (share * questions + 1) / (questions + 2)  # keeps 0 % and 100 % from counting as free of error
    return 100 * float((adjusted * (1 - adjusted) / questions) ** 0.5)


def comparable(one: Figure, other: Figure) -> bool:
    """Whether two figures of one group may be set against each other.

    A table of an independent harness ran both ways of answering alike; a maker's table mixes them as it suits.
    """
    return one.reporter_kind == "independent" or one.runs == other.runs or UNSTATED in (one.runs, other.runs)
