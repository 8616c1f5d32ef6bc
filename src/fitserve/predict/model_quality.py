"""How good a model is for a purpose: its place among the models that published tables link, never without the figures.

The place comes from comparisons inside tables only (see tools/fit_model_quality.py): a model with few figures is pulled
to the middle and gets a wide interval; a model without any has no place. Thinking and answering at once are places of
their own, because the same model scores differently and costs several times the tokens when it thinks.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from fitserve.foundation.errors import FactMissing
from fitserve.foundation.facts import load_json
from fitserve.foundation.intervals import Basis, Interval
from fitserve.predict.benchmarks import Figure, by_model, groups, model_purposes, purposes

_NINETY_PERCENT: Final = 1.645  # standard deviations of a normal distribution


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkPart:
    """One figure behind a place. `percentile` is the share of the other models in its table that it beats (0 to 100).

    Only figures for the same setting and the same way of answering are compared; `compared_with` says how many there
    are, and without any `percentile` is None. `weight` is what the figure counts for in this purpose.
    """

    benchmark: str
    setting: str | None
    table: str
    mode: str | None
    value: float
    unit: str
    percentile: float | None
    compared_with: int
    weight: float
    reporter_kind: str
    reporter: str
    source: str
    date: str
    doubt: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelQuality:
    """The place of a model for a purpose. `percentile`: 0 to 100 among the `ranked` entries of the purpose.

    `runs`: direct, thinking, low (effort) or unstated; `other_runs` have a place of their own. `count` figures of
    `benchmarks` different benchmarks, `makers_own` of them printed by the model's maker.
    """

    model: str
    purpose: str
    runs: str
    percentile: Interval
    parts: tuple[BenchmarkPart, ...]
    count: int
    benchmarks: int
    makers_own: int
    ranked: int
    other_runs: tuple[str, ...]
    basis: tuple[Basis, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranking:
    """Fitted strengths of one purpose: (strength, deviation, weight of the figures) by model and way of answering."""

    entries: Mapping[tuple[str, str], tuple[float, float, float]]
    ways: Mapping[str, tuple[str, ...]]
    """Ways of answering by model, that with most evidence first."""
    ordered: tuple[float, ...]
    held_out_right: float
    maker_advantage: float

    def percentile(self, strength: float) -> float:
        """Share of entries below, ties counted half, in percent."""
        below, upto = bisect_left(self.ordered, strength), bisect_right(self.ordered, strength)
        return 100 * (below + upto) / 2 / len(self.ordered)

    def interval(self, entry: tuple[str, str]) -> Interval:
        """Percentiles at the strength and at both ends of its 90 % range."""
        strength, deviation, _ = self.entries[entry]
        reach = _NINETY_PERCENT * deviation
        low, likely, high = (self.percentile(strength + step) for step in (-reach, 0.0, reach))
        return Interval(low, likely, high)


def known_purposes() -> tuple[str, ...]:
    """Purposes that have a ranking."""
    return tuple(purposes())


@lru_cache(maxsize=16)
def ranking(purpose: str) -> Ranking:
    """Fitted strengths of a purpose; raises KeyError for one that is none."""
    row = {row["purpose"]: row for row in load_json("fitserve.predict.data", "model_ranks.json")["rows"]}[purpose]
    entries = {(model, runs): (strength, sd, weight) for model, runs, strength, sd, weight in row["entries"]}
    ways: dict[str, list[str]] = {}
    for model, runs in sorted(entries, key=lambda name: (-entries[name][2], name)):
        ways.setdefault(model, []).append(runs)
    return Ranking(
        entries=entries,
        ways={model: tuple(members) for model, members in ways.items()},
        ordered=tuple(sorted(strength for strength, _, _ in entries.values())),
        held_out_right=row["held_out_right"],
        maker_advantage=row["maker_advantage"],
    )


def model_quality(model_id: str, purpose: str, runs: str | None = None) -> ModelQuality | None:
    """The place of a catalogue model for a purpose, with all its figures; None when no table links it.

    `runs` chooses the way of answering; without one, that with most evidence. Raises KeyError for an unknown purpose.
    """
    known = ranking(purpose)
    ways = known.ways.get(model_id, ())
    if not ways or (runs is not None and runs not in ways):
        return None
    chosen = runs or ways[0]
    parts = _parts(model_id, purpose, chosen)
    return ModelQuality(
        model=model_id,
        purpose=purpose,
        runs=chosen,
        percentile=known.interval((model_id, chosen)),
        parts=parts,
        count=len(parts),
        benchmarks=len({part.benchmark for part in parts}),
        makers_own=sum(part.reporter_kind == "maker" for part in parts),
        ranked=len(known.entries),
        other_runs=tuple(way for way in ways if way != chosen),
        basis=(Basis("fitted", "predict/data/model_ranks.json"), *_bases(parts)),
    )


def place(model_id: str, purpose: str) -> Interval | None:
    """The percentile alone, as `model_quality` gives it, without reading the figures: for ranking many models."""
    known = ranking(purpose)
    return known.interval((model_id, known.ways[model_id][0])) if model_id in known.ways else None


def require_quality(model_id: str, purpose: str) -> ModelQuality:
    """As `model_quality`; raises FactMissing when there is no figure."""
    found = model_quality(model_id, purpose)
    if found is None:
        raise FactMissing(f"a benchmark figure of {model_id} for {purpose}", "predict/data/benchmarks_*.json")
    return found


def ranked_models(purpose: str) -> list[tuple[str, str, float]]:
    """(model, way of answering, strength in logistic units), best first; models of equal strength by name."""
    entries = ranking(purpose).entries
    return [(*name, entries[name][0]) for name in sorted(entries, key=lambda name: (-entries[name][0], name))]


def _parts(model_id: str, purpose: str, runs: str) -> tuple[BenchmarkPart, ...]:
    weights = purposes()[purpose]
    mine = [figure for figure in by_model().get(model_id, ()) if figure.benchmark in weights and figure.runs == runs]
    parts = [_part(figure, weights[figure.benchmark]) for figure in mine]
    order = {"independent": 0, "other maker": 1, "maker": 2}
    return tuple(
        sorted(
            parts,
            key=lambda p: (-p.weight, order[p.reporter_kind], -p.compared_with, p.benchmark, p.table, str(p.setting)),
        )
    )


def _part(figure: Figure, weight: float) -> BenchmarkPart:
    others = [
        other.value for other in groups()[figure.group] if other.model != figure.model and other.runs == figure.runs
    ]
    beaten = math.fsum(1.0 if value < figure.value else 0.5 if value == figure.value else 0.0 for value in others)
    return BenchmarkPart(
        benchmark=figure.benchmark,
        setting=figure.setting,
        table=figure.table,
        mode=figure.mode,
        value=figure.value,
        unit=figure.unit,
        percentile=100 * beaten / len(others) if others else None,
        compared_with=len(others),
        weight=weight,
        reporter_kind=figure.reporter_kind,
        reporter=figure.reporter,
        source=figure.source,
        date=figure.date,
        doubt=figure.doubt,
    )


def _bases(parts: tuple[BenchmarkPart, ...]) -> list[Basis]:
    counts: dict[str, int] = {}
    for part in parts:
        counts[part.reporter_kind] = counts.get(part.reporter_kind, 0) + 1
    return [Basis("measured", f"{count} figures, {kind}") for kind, count in sorted(counts.items())]


def purpose_row(model_id: str) -> Mapping[str, Any] | None:
    """What a catalogue model is for (Korean, tools, vision, reasoning, commercial use); None for one that has no row."""
    return model_purposes().get(model_id)
