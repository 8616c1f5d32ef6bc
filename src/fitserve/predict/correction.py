"""What this machine's own measurements say of its predictions: a factor with its interval, bounded and named.

A prediction's interval is taken as a log-normal belief about its own error. Part of that error belongs to the machine (its
clocks, its cooling, its bus), the rest to the model and its settings; measurements of the same machine share the first, those
of the same deployment both. Updating a normal belief by normal measurements is closed (Gelman et al., Bayesian Data Analysis,
2.5), so that a correction never goes further than its measurements, nearly reaches them once there are several, and narrows
the interval by what was learned.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from fitserve.foundation.intervals import Basis, Interval
from fitserve.foundation.reasons import note
from fitserve.predict.types import Speed

_DEVIATIONS = 1.645  # of a normal distribution: 5 % lie beyond on either side
_MACHINE_SHARE = 0.5
"""Of the error's variance, what belongs to the machine; an assumption between none and all of it."""
_RUN_SPREAD = 0.05
"""Standard deviation of the logarithm between runs of the same load on the same machine, an assumption."""
_MOST = math.log(4.0)
_LEAST_SPREAD = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One figure that was predicted and measured here. `deployment` names model, format and split; `run` the ledger's row."""

    engine: str
    deployment: str
    metric: str
    predicted: Interval
    measured: float
    run: int

    @property
    def is_usable(self) -> bool:
        """Finite and above zero, as logarithms need."""
        values = (self.predicted.low, self.predicted.likely, self.predicted.high, self.measured)
        return all(math.isfinite(value) and value > 0 for value in values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """Multiply a prediction by `factor` (of the logarithm: `shift` ± `spread`). `runs`: what it rests on."""

    metric: str
    shift: float
    spread: float
    runs: tuple[int, ...]

    @property
    def factor(self) -> Interval:
        """With 90 % of the belief inside."""
        reach = _DEVIATIONS * self.spread
        return Interval(math.exp(self.shift - reach), math.exp(self.shift), math.exp(self.shift + reach))


def correction(
    measured: Sequence[Measured], engine: str, deployment: str, metric: str, asked: Interval
) -> Correction | None:
    """The correction of one figure of a deployment, whose own interval is `asked`; None without a measurement of the engine."""
    rows = [row for row in measured if row.engine == engine and row.metric == metric and row.is_usable]
    if not rows or asked.low <= 0:
        return None
    prior = spread_of(asked)
    machine, rest = prior**2 * _MACHINE_SHARE, prior**2 * (1 - _MACHINE_SHARE)
    others = [_error(row) for row in rows if row.deployment != deployment]
    same = [_error(row) for row in rows if row.deployment == deployment]
    shift, variance = _updated(0.0, machine, others, rest + _RUN_SPREAD**2)
    shift, variance = _updated(shift, variance + rest, same, _RUN_SPREAD**2)
    return Correction(
        metric=metric,
        shift=max(-_MOST, min(_MOST, shift)),
        spread=max(_LEAST_SPREAD, math.sqrt(variance)),
        runs=tuple(sorted({row.run for row in rows})),
    )


def spread_of(interval: Interval) -> float:
    """Standard deviation of the logarithm that an interval stands for."""
    if interval.low <= 0 or interval.high <= interval.low:
        return _LEAST_SPREAD
    return max(_LEAST_SPREAD, math.log(interval.high / interval.low) / (2 * _DEVIATIONS))


def _error(row: Measured) -> float:
    return math.log(row.measured / row.predicted.likely)


def _updated(mean: float, variance: float, values: Iterable[float], noise: float) -> tuple[float, float]:
    """Mean and variance of a normal belief after values with a noise of this variance."""
    listed = list(values)
    if not listed:
        return mean, variance
    weight = 1 / variance + len(listed) / noise
    return (mean / variance + math.fsum(listed) / noise) / weight, 1 / weight


def corrected(speed: Speed, measured: Sequence[Measured], engine: str, deployment: str) -> Speed:
    """A speed with what was measured on this machine; the same where nothing of the engine was measured."""
    asked = {"ttft_s": speed.ttft_s, "inter_token_s": speed.inter_token_s, "output_tok_per_s": speed.output_tok_per_s}
    found = [one for name, value in asked.items() if (one := correction(measured, engine, deployment, name, value))]
    if not found:
        return speed
    asked |= {one.metric: _times(asked[one.metric], one) for one in found}
    runs = sorted({run for one in found for run in one.runs})
    told = note(
        "speed_corrected", runs=", ".join(map(str, runs)),
        factors=", ".join(f"{one.metric.rsplit('_s', 1)[0]} ×{one.factor.likely:.2f}" for one in found),
    )  # fmt: skip
    basis = Basis("measured", f"this machine, runs {', '.join(map(str, runs))}")
    return replace(
        speed, ttft_s=asked["ttft_s"], inter_token_s=asked["inter_token_s"], output_tok_per_s=asked["output_tok_per_s"],
        basis=(*speed.basis, basis), reasons=(*speed.reasons, told),
    )  # fmt: skip


def _times(asked: Interval, by: Correction) -> Interval:
    """The corrected interval: the belief after the measurements, in place of the one before."""
    reach = _DEVIATIONS * by.spread
    likely = asked.likely * math.exp(by.shift)
    return Interval(likely * math.exp(-reach), likely, likely * math.exp(reach))
