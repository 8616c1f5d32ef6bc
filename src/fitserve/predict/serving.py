"""A deployment under its workload, simulated: how far requests differ from the mean, and how many keep the targets.

The closed form (batched.py, streams.py) is fitted to measured means; the simulation adds what a mean cannot say. So every
distribution gets the closed form's mean: the level is fitted, the shape is simulated. Gaps and whole requests are scaled.
Where the first token takes longer than simulated, the rest is taken as the same for every request (front end, launches);
where it takes less, it is scaled. `simulated_s` tells how far the two were apart. Bands are those of the mean: how much
less sure a percentile is has not been measured.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

from fitserve.engines.contract import Deployment, MemoryBudget
from fitserve.foundation.errors import FactMissing
from fitserve.foundation.intervals import Interval
from fitserve.predict.arrivals import ClosedLoop, Fixed, Lengths, Lognormal, Poisson, Traffic
from fitserve.predict.batched import prefill_budget
from fitserve.predict.figures import Distribution, ServingFigures, Targets
from fitserve.predict.gpu_rates import gpu_rates
from fitserve.predict.policy import policy_of
from fitserve.predict.scales import coefficients, scales_of, terms_of
from fitserve.predict.scheduling import Scheduling, StepTimes, slots
from fitserve.predict.simulate import simulate
from fitserve.predict.step import ScaledSteps, step_parts
from fitserve.predict.step_table import StepTable
from fitserve.predict.stream_job import StreamJob, stream_job
from fitserve.predict.streams import decode_s, is_predicted, prefill_s
from fitserve.predict.types import Load, Speed

_WAVES = 10  # requests that every user sends, as in the closed form
_FEWEST, _MOST = 200, 2_000
_BLOCK_TOKENS = 16
_KEPT_UP = 0.95
"""Share of the arrivals that a server answers in a run of some length, if it keeps up with them."""
PERCENTILES = ("mean", "p50", "p90", "p99")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How prompts and answers differ in length: the standard deviation of the logarithm; 0: all alike."""

    prompt_sigma: float = 0.0
    output_sigma: float = 0.0
    reused_share: float = 0.0
    """Of every prompt, what a warm prefix cache holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A simulated run, scaled to the predicted means.

    `times_s`: of TTFT (`ttft`), the gap of a request (`inter_token`), the gap before every token (`itl`) and the whole
    request (`e2e`), the mean and percentiles. `good_share`: share of the requests that keep every target, `goodput_per_s`
    so many a second; None without targets. `simulated_s`: the means before they were set to the predicted ones.
    """

    times_s: Mapping[str, Mapping[str, Interval]]
    good_share: float | None
    goodput_per_s: float | None
    requests_per_s: float
    request_count: int
    is_varied: bool
    """Whether the requests differ in length."""
    is_beyond: bool
    """Whether more requests come than are answered, though the closed form sees no queue: waiting is then as simulated."""
    mean_batch: float
    preemptions: int
    kv_peak_share: float | None
    simulated_s: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class StreamSteps:
    """Steps of an engine with slots: one of the decodes, and prompts after it. A StepTimes."""

    job: StreamJob

    def decode_s(self, batch: float, context_tokens: float, /) -> float:
        """See StepTimes."""
        return decode_s(self.job, context_tokens / batch, max(1, round(batch))).likely

    def prefill_s(self, chunk_tokens: float, past_tokens: float, /) -> float:
        """See StepTimes."""
        return prefill_s(self.job, max(1.0, chunk_tokens), max(0.0, past_tokens)).likely

    def mixed_s(self, batch: float, context_tokens: float, chunk_tokens: float, past_tokens: float, /) -> float:
        """See StepTimes."""
        return self.decode_s(batch, context_tokens) + self.prefill_s(chunk_tokens, past_tokens)


def batched_steps(deployment: Deployment, budget: MemoryBudget) -> ScaledSteps:
    """Step times of a batching engine. Raises FactMissing without policy, GPU or kernel tables."""
    policy_of(deployment.engine)
    if deployment.machine.is_cpu_only or not deployment.machine.devices:
        raise FactMissing("speed of a batching engine without a GPU", "predict/families.toml")
    rates = gpu_rates(deployment.machine.devices[0].id)
    scales = scales_of(terms_of(deployment, rates), coefficients())
    parts = step_parts(deployment, budget.kv.format, rates)
    return ScaledSteps(parts=parts, decode_scales=scales.decode, prefill_scales=scales.prefill)


def server_of(deployment: Deployment, budget: MemoryBudget, load: Load) -> tuple[StepTimes, Scheduling]:
    """Step times and policy of one replica. Raises FactMissing where no speed is predicted."""
    try:
        steps: StepTimes = batched_steps(deployment, budget)
    except FactMissing:
        if not is_predicted(deployment.engine):
            raise
        job = stream_job(deployment)
        seats = int(deployment.options.get("parallel") or deployment.max_num_seqs or budget.max_num_seqs)
        if budget.kv.max_concurrency >= 1:
            seats = min(seats, int(budget.kv.max_concurrency))
        most = load.prompt_tokens + load.output_tokens
        chunk = max(job.chunk_tokens, 1)
        return StreamSteps(job), slots(
            max(seats, 1),
            context_tokens=max(deployment.context_tokens, most),
            batch_tokens=max(chunk, 2048),
            ubatch_tokens=chunk,
        )
    policy = policy_of(deployment.engine)
    seats = max(1, budget.max_num_seqs)
    shares = deployment.dp if deployment.ep > deployment.tp else 1
    room = budget.kv.capacity_tokens // shares
    return steps, Scheduling(
        max_num_seqs=seats,
        max_batched_tokens=max(prefill_budget(deployment), seats),
        # a cache without room for one request says nothing, as in the closed form
        kv_tokens=room if room >= load.prompt_tokens + load.output_tokens else None,
        block_tokens=_BLOCK_TOKENS,
        mixes_decode=not policy.get("prefill_first", False),
        reserves_output=policy["output_share"] == 1,
    )


def served(
    deployment: Deployment, budget: MemoryBudget, load: Load, speed: Speed, spread: Spread, targets: Targets
) -> Served | None:
    """The workload on one replica, event by event. None where not one request could run.

    Raises FactMissing where no speed is predicted.
    """
    steps, policy = server_of(deployment, budget, load)
    traffic = _traffic(load, spread, deployment)
    means = _means(speed, load)
    table = StepTable(steps)
    plain = simulate(table, policy, traffic)
    if not plain.completed:
        return None
    found = {name: shape for name, shape in _shapes(plain).items() if isfinite(shape.mean) and shape.mean > 0}
    answered = plain.requests_per_s * deployment.dp
    # where the closed form sees no queue although more comes than is answered, waiting is what the simulation says
    is_beyond = load.rate_per_s is not None and answered < _KEPT_UP * load.rate_per_s and not speed.is_queued
    levels = {
        name: _Level() if is_beyond and name in {"ttft", "e2e"} else _level(name, means[name], shape.mean)
        for name, shape in found.items()
    }
    has_targets = targets != Targets()
    figures = simulate(table, policy, traffic, _on_level(targets, levels)) if has_targets else plain
    good = None
    if has_targets and figures.goodput_per_s is not None:
        good = figures.goodput_per_s / figures.requests_per_s
    rate = speed.output_tok_per_s.likely / max(1, load.output_tokens)
    rate = min(rate, answered) if is_beyond else rate
    return Served(
        times_s={name: _levelled(shape, levels[name], _band(speed, name)) for name, shape in found.items()},
        good_share=good, goodput_per_s=None if good is None else good * rate, requests_per_s=rate,
        request_count=traffic.request_count, is_beyond=is_beyond, is_varied=bool(spread.prompt_sigma or spread.output_sigma),
        mean_batch=figures.mean_batch * deployment.dp,
        preemptions=figures.preemptions * deployment.dp, kv_peak_share=figures.kv_peak_share,
        simulated_s={name: shape.mean for name, shape in found.items()},
    )  # fmt: skip


def _traffic(load: Load, spread: Spread, deployment: Deployment) -> Traffic:
    """The requests of one replica."""
    users = max(1, round((load.concurrent_requests or 1) / deployment.dp))
    count = load.request_count or min(max(_FEWEST, _WAVES * users), max(_MOST, 2 * users))
    if load.rate_per_s is not None:
        arrivals: Poisson | ClosedLoop = Poisson(load.rate_per_s / deployment.dp)
        count = load.request_count or _MOST // 2
    else:
        arrivals = ClosedLoop(users)
    context = max(deployment.context_tokens, load.prompt_tokens + load.output_tokens)
    return Traffic(
        prompt=_lengths(load.prompt_tokens, spread.prompt_sigma, context - load.output_tokens),
        output=_lengths(load.output_tokens, spread.output_sigma, max(load.output_tokens, context // 2)),
        arrivals=arrivals,
        request_count=count,
        reused_share=spread.reused_share,
    )


def _lengths(mean_tokens: int, sigma: float, most_tokens: int) -> Lengths:
    return Fixed(mean_tokens) if not sigma else Lognormal(mean_tokens, sigma, max(mean_tokens, most_tokens))


def _means(speed: Speed, load: Load) -> Mapping[str, float]:
    """Predicted means, by the names of `_shapes`."""
    gap = speed.inter_token_s.likely
    whole = speed.ttft_s.likely + gap * max(0, load.output_tokens - 1)
    return {"ttft": speed.ttft_s.likely, "inter_token": gap, "itl": gap, "e2e": whole}


def _shapes(figures: ServingFigures) -> Mapping[str, Distribution]:
    return {"ttft": figures.ttft_s, "inter_token": figures.tpot_s, "itl": figures.itl_s, "e2e": figures.e2e_s}


@dataclass(frozen=True, slots=True)
class _Level:
    """From simulated to predicted times: times `factor`, plus `shift_s`."""

    factor: float = 1.0
    shift_s: float = 0.0

    def before(self, predicted_s: float | None) -> float | None:
        """The simulated time of a predicted one."""
        return None if predicted_s is None else max(0.0, predicted_s - self.shift_s) / self.factor


def _level(name: str, predicted_s: float, simulated_s: float) -> _Level:
    if name == "ttft" and predicted_s > simulated_s:
        return _Level(shift_s=predicted_s - simulated_s)
    return _Level(factor=predicted_s / simulated_s)


def _on_level(targets: Targets, levels: Mapping[str, _Level]) -> Targets:
    """Targets as the run sees them."""
    first, gap = levels.get("ttft", _Level()), levels.get("inter_token", _Level())
    return Targets(ttft_s=first.before(targets.ttft_s), tpot_s=gap.before(targets.tpot_s))


def _band(speed: Speed, name: str) -> Interval:
    """Low and high of the mean that a distribution belongs to, over its likely value."""
    first, gap = speed.ttft_s, speed.inter_token_s
    if name == "ttft":
        return Interval(first.low / first.likely, 1.0, first.high / first.likely)
    return Interval(gap.low / gap.likely, 1.0, gap.high / gap.likely)


def _levelled(shape: Distribution, level: _Level, band: Interval) -> Mapping[str, Interval]:
    values = {name: getattr(shape, name) * level.factor + level.shift_s for name in PERCENTILES}
    return {name: Interval(value * band.low, value, value * band.high) for name, value in values.items()}
