"""The scoreboard: errors by kind and metric, doubted rows apart."""

import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fitserve.evidence.cases import Case
from fitserve.evidence.given import Unanswered
from fitserve.evidence.predict import Prediction, predict
from fitserve.foundation.intervals import Interval
from fitserve.foundation.reasons import Reason, unknown

_WHOLE_HALF = 1 + 1e-9
"""A figure exactly between two printed ones counts as either: half a digit is not exact in binary."""
CATEGORIES = ("outcome", "category", "valid")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One metric of one case. `error_pct` is signed and counts from the rounding of the source on."""

    case: Case
    metric: str
    predicted: Prediction | None
    measured: Any
    error_pct: float | None = None
    is_right: bool | None = None
    is_inside: bool | None = None
    unanswered: Reason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """All rows of a kind and metric, of cases without or with a doubt."""

    kind: str
    metric: str
    doubted: bool
    rows: tuple[Row, ...] = field(repr=False)

    @property
    def cases(self) -> int:
        """Rows with a measured value."""
        return sum(1 for row in self.rows if row.measured is not None)

    @property
    def answered(self) -> int:
        """Rows of those that were predicted."""
        return sum(1 for row in self.rows if row.measured is not None and row.predicted is not None)

    def _errors(self) -> list[float]:
        return sorted(abs(row.error_pct) for row in self.rows if row.error_pct is not None)

    @property
    def median_abs_pct(self) -> float | None:
        """Median of the absolute errors."""
        errors = self._errors()
        return statistics.median(errors) if errors else None

    @property
    def p90_abs_pct(self) -> float | None:
        """Nine in ten absolute errors are not larger (nearest rank)."""
        errors = self._errors()
        return errors[max(0, -(-9 * len(errors) // 10) - 1)] if errors else None

    @property
    def bias_pct(self) -> float | None:
        """Median of the signed errors."""
        errors = [row.error_pct for row in self.rows if row.error_pct is not None]
        return statistics.median(errors) if errors else None

    @property
    def right_pct(self) -> float | None:
        """Share of right words, or of figures equal to the measured one."""
        return _share([row.is_right for row in self.rows if row.is_right is not None])

    @property
    def inside_interval_pct(self) -> float | None:
        """Share of measured figures inside the predicted interval."""
        return _share([row.is_inside for row in self.rows if row.is_inside is not None])


def _share(flags: list[bool]) -> float | None:
    return 100.0 * sum(flags) / len(flags) if flags else None


def rows_of(case: Case) -> list[Row]:
    """A row for every measured metric; for every predicted one when nothing was measured."""
    measured = case.figures()
    try:
        predictions: Mapping[str, Prediction] = predict(case)
    except Unanswered as error:
        metrics = measured or {"*": None}
        return [
            Row(case=case, metric=metric, predicted=None, measured=value, unanswered=error.reason)
            for metric, value in metrics.items()
        ]
    if not measured:
        return [Row(case=case, metric=metric, predicted=value, measured=None) for metric, value in predictions.items()]
    return [_compare(case, metric, predictions.get(metric), value) for metric, value in measured.items()]


def _compare(case: Case, metric: str, predicted: Prediction | None, measured: Any) -> Row:
    if predicted is None or isinstance(measured, int | float) != isinstance(predicted, bool | Interval):
        return Row(
            case=case,
            metric=metric,
            predicted=None,
            measured=measured,
            unanswered=unknown("metric_not_predicted", metric=metric),
        )
    if isinstance(predicted, tuple):
        named = set(measured) <= set(predicted)
        return Row(case=case, metric=metric, predicted=predicted, measured=measured, is_right=named)
    if not isinstance(predicted, Interval):
        return Row(case=case, metric=metric, predicted=predicted, measured=measured, is_right=predicted == measured)
    tolerance = _tolerance(case, metric, measured) * _WHOLE_HALF
    off = predicted.likely - measured
    beyond = max(0.0, abs(off) - tolerance)
    error = 0.0 if beyond == 0 else None if measured == 0 else 100 * (beyond if off > 0 else -beyond) / abs(measured)
    return Row(
        case=case, metric=metric, predicted=predicted, measured=measured, error_pct=error,
        is_right=beyond == 0, is_inside=predicted.contains(measured, tolerance),
    )  # fmt: skip


def _tolerance(case: Case, metric: str, measured: float) -> float:
    """Half the unit of the last printed digit: stated by the case (for a metric or in bytes), else read off the figure."""
    by_metric = case.measured.get("plus_minus")
    stated = by_metric.get(metric.partition(".")[0]) if isinstance(by_metric, Mapping) else None
    if stated is None:
        stated = case.measured.get("plus_minus_bytes")
    if isinstance(stated, int | float):
        return float(stated)
    decimals = len(repr(measured).partition(".")[2]) if isinstance(measured, float) and "e" not in repr(measured) else 0
    return 0.5 * 10.0**-decimals if isinstance(measured, float) else 0.0


def scoreboard(rows: Iterable[Row], merged: bool = False) -> list[Group]:
    """Groups by kind and metric, undoubted ones first; `merged` takes the buffers of all devices together."""
    found: dict[tuple[bool, str, str], list[Row]] = {}
    for row in rows:
        metric = row.metric.partition(".")[0] if merged else row.metric
        found.setdefault((row.case.doubt is not None, row.case.kind, metric), []).append(row)
    return [
        Group(kind=kind, metric=metric, doubted=doubted, rows=tuple(items))
        for (doubted, kind, metric), items in sorted(found.items())
    ]


def interval_or_word(value: Prediction | None) -> Any:
    """A prediction as JSON."""
    if isinstance(value, Interval):
        return {"low": value.low, "likely": value.likely, "high": value.high}
    return value
