"""What was predicted beside what was measured."""

from dataclasses import dataclass

from fitserve.bench.types import LoadResult
from fitserve.foundation.intervals import Interval
from fitserve.predict.types import Speed

_MS = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One figure. `metric` names it and its unit as PLAN's speed does."""

    metric: str
    predicted: Interval
    measured: float

    @property
    def difference_pct(self) -> float | None:
        """How far the prediction lies above (+) or below (-) the measurement."""
        return None if self.measured == 0 else 100 * (self.predicted.likely / self.measured - 1)

    @property
    def is_inside(self) -> bool:
        """Whether the measurement lies in the interval."""
        return self.predicted.contains(self.measured)


def compared(run: LoadResult, speed: Speed) -> tuple[Compared, ...]:
    """The figures that both have; means, because the prediction is one."""
    seen = run.figures
    pairs = (
        ("ttft_s", speed.ttft_s, None if seen.ttft_ms is None else seen.ttft_ms.mean / _MS),
        ("inter_token_s", speed.inter_token_s, None if seen.inter_token_ms is None else seen.inter_token_ms.mean / _MS),
        ("output_tok_per_s", speed.output_tok_per_s, seen.output_tok_per_s if seen.completed else None),
    )
    return tuple(
        Compared(metric=metric, predicted=predicted, measured=measured)
        for metric, predicted, measured in pairs
        if measured is not None
    )
