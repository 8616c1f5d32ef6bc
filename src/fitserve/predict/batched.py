"""Closed form of a batching server under load: from step times to TTFT, time per output token, throughput.

Requests that find no room (`max_num_seqs`, KV cache) queue. In a closed loop every finished request is followed by the next;
a burst is a closed loop of as many users as requests. Percentiles are those of the cases, not simulated.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from fitserve.engines.contract import Deployment, MemoryBudget
from fitserve.foundation.errors import FactMissing
from fitserve.foundation.intervals import Basis, Interval
from fitserve.foundation.reasons import Reason, note, warning
from fitserve.hardware.types import Accelerator
from fitserve.predict.gpu_rates import GpuRates, gpu_rates
from fitserve.predict.policy import policy_of
from fitserve.predict.scales import Scales, coefficients, scales_of, speed_data, terms_of
from fitserve.predict.scheduling import StepTimes
from fitserve.predict.step import ScaledSteps, StepParts, step_parts
from fitserve.predict.types import Load, Speed

_LAUNCH_S = 2e-4  # of a layer outside CUDA graphs, the unit of the fitted scale
_FRONT_S = 0.02  # tokenizer, HTTP and scheduler of one request, the unit of the fitted scale
_BUNCH = (
    2.0  # prompts of a bunch that a request meets, where requests of equal length end together; the unit of the scale
)
_WAVES = 10  # requests a user sends in a run whose length is not stated
_FIXED_POINT_STEPS = 40
CROWDED = ("queue", "burst")
"""Regimes whose figures rest on scheduling that the closed form simplifies; they are corrected by the cases' median."""


def usual_context(limit_tokens: int, request_tokens: int) -> int:
    """The context that a server for such requests is started with when nothing is said: theirs and a little more."""
    return min(limit_tokens, max(request_tokens + 200, 1024))


def prefill_budget(deployment: Deployment) -> int:
    """Prompt tokens that one step computes at most: as asked, else the engine's default."""
    row = policy_of(deployment.engine)
    for option in row["options"]:
        text = deployment.options.get(option, "")
        if text.isdigit() and int(text) > 0:
            return int(text)
    device: Accelerator = deployment.machine.devices[0]
    is_large = device.memory_bytes >= row["large_from_bytes"] and device.id not in row["not_large"]
    return int(row["large_tokens"] if is_large else row["tokens"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """One replica: users that it serves (`asked`), how many of them at once (`batch`), requests of the run. `evicts`:
    a request is stopped when its cache is needed; `busy_replicas`: as many as have a user."""

    asked: float
    batch: float
    slots: float
    is_cache_bound: bool
    count: float
    prompt: int
    output: int
    chunk: int
    busy_replicas: float
    has_equal_lengths: bool
    is_prefill_first: bool
    evicts: bool

    @property
    def runs_in_waves(self) -> bool:
        """All users' prompts are computed, then all answers are made, and all end with the same step."""
        return self.has_equal_lengths and self.is_prefill_first

    @property
    def context(self) -> float:
        """Mean context of a running sequence."""
        return self.prompt + self.output / 2


def room_of(deployment: Deployment, budget: MemoryBudget, load: Load) -> Room:
    """How many requests of this load run at once. A cache without room for one says nothing and does not limit."""
    replicas = deployment.dp
    policy = policy_of(deployment.engine)
    share = policy["output_share"]  # of a request's answer, for which its cache holds room on average
    length = load.prompt_tokens + load.output_tokens * share
    in_cache = budget.kv.capacity_tokens / length
    shares = deployment.dp if deployment.ep > deployment.tp or budget.kv.capacity_tokens == 0 else 1
    slots = min(float(budget.max_num_seqs), in_cache / shares if in_cache >= 1 else math.inf)
    users = load.concurrent_requests or 1
    if load.request_count:  # nobody waits for a turn in a run that ends before it
        users = min(users, load.request_count)
    asked = max(1.0, users / replicas)
    count = max(1.0, (load.request_count or _WAVES * users) / replicas)
    return Room(
        asked=asked, batch=max(1.0, min(asked, slots, count)), slots=max(1.0, slots), count=count,
        is_cache_bound=slots < budget.max_num_seqs,
        prompt=load.prompt_tokens, output=load.output_tokens, chunk=prefill_budget(deployment),
        busy_replicas=min(replicas, users), has_equal_lengths=load.has_equal_lengths,
        is_prefill_first=policy.get("prefill_first", False), evicts=share < 1,
    )  # fmt: skip


def chunks_of(room: Room, batch: float) -> tuple[float, int]:
    """(tokens, number) of the equal chunks in which a prompt is computed beside the decodes of a batch."""
    most = max(64.0, room.chunk - batch)
    count = max(1, math.ceil(room.prompt / most))
    return room.prompt / count, count


def packed(room: Room, batch: float) -> tuple[float, float]:
    """(prompts, past tokens of the same work) of a step that is full of prompts while many wait; 1 where none shares."""
    prompts = max(1, min(int(room.chunk // room.prompt), round(batch)))
    return prompts, room.prompt * (1 - prompts) / 2


def wave_wait(room: Room, batch: float) -> float:
    """Prompts of a wave that are computed until a request's first token is seen: half of them, as many at a time as share
    a step, and the step after, during which the processor looks at the token (overlapped scheduling)."""
    prompts = packed(room, batch)[0]
    return min(batch, (batch + prompts) / 2 + prompts)


def steps_a_prompt(room: Room, batch: float) -> float:
    """Decode steps that run while the first wave waits for one prompt: several prompts share a step, half the wave decodes."""
    return room.prompt / max(64.0, room.chunk - batch) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Steady:
    """Times at a batch size: of a decode step, what one prompt adds to steps of others, one prompt alone, one among as
    many as fill a step. Seconds."""

    batch: float
    decode_s: float
    added_s: float
    prefill_s: float
    packed_s: float


def steady(steps: StepTimes, room: Room, batch: float) -> Steady:
    """Step times of a replica that runs `batch` sequences of this load."""
    tokens, count = chunks_of(room, batch)
    context = batch * room.context
    decode = steps.decode_s(batch, context)
    added = prefill = 0.0
    for index in range(count):
        past = index * tokens
        added += max(0.0, steps.mixed_s(batch, context, tokens, past) - decode)
        prefill += steps.prefill_s(tokens, past)
    prompts, past = packed(room, batch)
    full = prefill if prompts == 1 else steps.prefill_s(prompts * room.prompt, past) / prompts
    added = prefill if room.is_prefill_first else added
    return Steady(batch=batch, decode_s=decode, added_s=added, prefill_s=prefill, packed_s=full)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Likely figures of a load: seconds, tokens a second over all replicas, and what limited them."""

    ttft_s: float
    inter_token_s: float
    output_tok_per_s: float
    prefill_tok_per_s: float
    wait_s: float
    regime: str
    room: Room


def is_cache_full(room: Room, batch: float) -> bool:
    """Whether the batch is all that the cache holds, and requests are stopped when their cache is needed."""
    return room.evicts and room.is_cache_bound and room.asked > 1.01 * batch >= 0.99 * room.slots


def added_share(room: Room, batch: float) -> float:
    """Prompts of others that are computed between two tokens of a user, on average.

    In a steady state one for every answer that ends. In a burst the early ones wait for the prompts of the late ones of the
    first wave, and only what did not fit into it comes later.
    """
    others = max(0.0, batch - 1)
    if room.runs_in_waves:  # those of its own wave that come after it
        return (batch - wave_wait(room, batch)) / max(1, room.output - 1)
    if room.count > room.asked * 1.01:
        return others / room.output
    later = max(0.0, 1 - batch / room.count)
    return others * (later / room.output + (1 - later) / 2 / max(1, room.output - 1))


def gap_s(now: Steady, room: Room, scales: Scales) -> float:
    """Mean gap between a user's tokens: the decode step, and the prefills of others that fall into it."""
    scale, each = (scales.wave, now.packed_s) if room.runs_in_waves else (scales.interference, now.added_s)
    gap = now.decode_s + scale * added_share(room, now.batch) * each
    return gap * (scales.preemption if is_cache_full(room, now.batch) else 1.0)


@dataclass(frozen=True, slots=True)
class Met:
    """Prompts that are computed before a request's own ends, on average: of a run's start, of others that come at any
    time, of others that ended with its user's last request, of its wave."""

    first_wave: float
    queue: float
    bunch: float
    wave: float


def prompts_met(room: Room, batch: float, busy: float) -> Met:
    """What a request of a closed loop waits for; `busy`: share of the time in which prompts are computed."""
    if room.runs_in_waves:
        return Met(0.0, 0.0, 0.0, wave_wait(room, batch))
    first_wave = (batch + 1) / 2 * min(1.0, batch / room.count)
    bunch = _BUNCH * (1 - 1 / batch) if room.has_equal_lengths else 0.0
    return Met(first_wave, busy / (2 * (1 - busy)), bunch, 0.0)


def first_token_s(now: Steady, room: Room, layers: int, scales: Scales) -> float:
    """TTFT of a request that finds room: front end, running step, its prefill, and the prefills that it meets."""
    total = now.batch * now.added_s
    busy = min(0.8, total / (total + room.output * now.decode_s))
    met = prompts_met(room, now.batch, busy)
    units = (
        _FRONT_S, now.decode_s, now.prefill_s,
        met.first_wave * (now.added_s + steps_a_prompt(room, now.batch) * now.decode_s),
        met.queue * now.added_s, layers * _LAUNCH_S, met.bunch * now.added_s, met.wave * now.packed_s,
    )  # fmt: skip
    return sum(unit * scale for unit, scale in zip(units, scales.first_token, strict=True))


def figures_of(parts: StepParts, scales: Scales, deployment: Deployment, room: Room, load: Load) -> Figures:
    """Likely figures of a load."""
    steps = ScaledSteps(parts=parts, decode_scales=scales.decode, prefill_scales=scales.prefill)
    if load.rate_per_s is not None:
        return _arrivals(steps, scales, deployment, room, load.rate_per_s)
    now = steady(steps, room, room.batch)
    return _closed(now, scales, deployment, room)


def _closed(now: Steady, scales: Scales, deployment: Deployment, room: Room) -> Figures:
    """Users who send the next request when the last is answered; those beyond the batch wait."""
    gap, first = gap_s(now, room, scales), first_token_s(now, room, len(deployment.model.layers), scales)
    is_burst = room.count <= room.asked * 1.01
    if is_burst:  # all prompts at once: the first wave is computed in a row, and delays nobody later
        first = _FRONT_S * scales.first_token[0] + now.prefill_s
        first += (now.batch - 1) / 2 * (now.packed_s + steps_a_prompt(room, now.batch) * now.decode_s)
    served = first + gap * max(0, room.output - 1)
    each_s = served / now.batch
    waiting = max(0.0, room.asked - now.batch)
    wait = (waiting * waiting / 2 + max(0.0, room.count - room.asked) * waiting) * each_s / room.count
    done_per_s = _throughput(room, now.batch, served)
    regime = "queue" if waiting > 0.01 * room.asked else "burst" if is_burst else "closed"
    return Figures(
        ttft_s=first + wait, inter_token_s=gap, output_tok_per_s=done_per_s * room.output * room.busy_replicas,
        prefill_tok_per_s=room.prompt / now.prefill_s * deployment.dp, wait_s=wait, regime=regime, room=room,
    )  # fmt: skip


def _throughput(room: Room, batch: float, served_s: float) -> float:
    """Requests a second over a run; equal requests end in whole waves, of which the last is not full."""
    waves = room.count / batch
    waves = math.ceil(waves - 0.01) if room.has_equal_lengths else waves
    return room.count / (served_s * max(1.0, waves))


def _arrivals(steps: StepTimes, scales: Scales, deployment: Deployment, room: Room, rate_per_s: float) -> Figures:
    """Poisson arrivals: the batch at which requests leave as fast as they come; beyond the slots the queue grows."""
    rate = rate_per_s / deployment.dp
    layers = len(deployment.model.layers)
    batch = 1.0
    for _ in range(_FIXED_POINT_STEPS):
        now = steady(steps, room, batch)
        gap, first = gap_s(now, room, scales), first_token_s(now, room, layers, scales)
        wanted = min(room.slots, max(1.0, rate * (first + gap * room.output)))
        if abs(wanted - batch) < 0.01 * batch:
            break
        batch = (batch + wanted) / 2
    served = first + gap * max(0, room.output - 1)
    most = max(now.batch, 1.0) / served
    is_over = rate > most and batch >= 0.98 * room.slots
    count = room.count if room.count > 1 else 1000.0
    wait = max(0.0, count / most - count / rate) / 2 if is_over else 0.0
    done = min(rate, most) if is_over else rate
    length = count / done + served
    return Figures(
        ttft_s=first + wait, inter_token_s=gap, output_tok_per_s=count / length * room.output * deployment.dp,
        prefill_tok_per_s=room.prompt / now.prefill_s * deployment.dp, wait_s=wait,
        regime="queue" if is_over else "arrivals", room=replace(room, batch=now.batch),
    )  # fmt: skip


def batched_speed(deployment: Deployment, budget: MemoryBudget, load: Load, gpu: GpuRates | None = None) -> Speed:
    """Speed of a batching engine on GPUs under a load.

    `gpu` stands in for the machine's device (what-if). Raises FactMissing for an engine or a GPU without a basis.
    """
    if deployment.machine.is_cpu_only or not deployment.machine.devices:
        raise FactMissing("speed of a batching engine without a GPU", "predict/families.toml")
    rates = gpu or gpu_rates(deployment.machine.devices[0].id)
    parts = step_parts(deployment, budget.kv.format, rates)
    scales = scales_of(terms_of(deployment, rates), coefficients())
    room = room_of(deployment, budget, load)
    figures = figures_of(parts, scales, deployment, room, load)
    least = 0.0
    if figures.regime == "queue" and load.rate_per_s is None:
        alone = replace(room, asked=room.batch, count=_WAVES * room.batch)
        least = figures_of(parts, scales, deployment, alone, load).output_tok_per_s
        least /= scales.preemption if is_cache_full(room, room.batch) else 1.0
    return _spread(figures, rates, deployment, least)


def band_keys(metric: str, regime: str, engine: str, tier: int) -> tuple[str, ...]:
    """Names of the intervals that may apply to a metric, narrowest first."""
    own = (f"{metric}|{regime}|{engine}|{tier}",) if regime in CROWDED else ()
    return (*own, f"{metric}|{regime}|*|{tier}", f"{metric}|{regime}|*|*", f"{metric}|*|*|*")


def _around(value: float, metric: str, figures: Figures, engine: str, tier: int) -> Interval:
    """A figure, corrected by the median held-out error of its regime, with the band that held nine in ten of them."""
    table: Mapping[str, Any] = speed_data()["intervals"]
    low, middle, high = next(table[key] for key in band_keys(metric, figures.regime, engine, tier) if key in table)
    return Interval(value * low, value * middle, value * high)


def _spread(figures: Figures, rates: GpuRates, deployment: Deployment, least_tok_per_s: float) -> Speed:
    """With bands; `least_tok_per_s`: what the users make who fit, which those who wait behind them do not lessen."""
    tier = rates.tier
    made = _around(figures.output_tok_per_s, "rate", figures, deployment.engine, tier)
    made = Interval(made.low, max(made.likely, least_tok_per_s), max(made.high, least_tok_per_s))
    basis = [Basis("fitted", "predict/data/speed.json"), Basis("measured", f"kernel tables of {rates.donor}")]
    reasons: list[Reason] = []
    if tier:
        reasons.append(note("speed_inherited", gpu=rates.id, donor=rates.donor))
        basis.append(Basis("estimated", f"{rates.id} inherits from {rates.donor} (tier {tier})"))
    room = figures.room
    if figures.wait_s > 0:
        reasons.append(
            warning(
                "speed_queueing",
                asked=round(room.asked * deployment.dp),
                at_once=round(room.slots * deployment.dp),
                wait_s=round(figures.wait_s, 2),
            )
        )
    first = tuple(
        (name, _around(figures.ttft_s, f"ttft.{name}", figures, deployment.engine, tier)) for name in ("p50", "p99")
    )
    gaps = tuple(
        (name, _around(figures.inter_token_s, f"gap.{name}", figures, deployment.engine, tier))
        for name in ("p50", "p99")
    )
    return Speed(
        ttft_s=_around(figures.ttft_s, "ttft.mean", figures, deployment.engine, tier),
        inter_token_s=_around(figures.inter_token_s, "gap.mean", figures, deployment.engine, tier),
        output_tok_per_s=made,
        prefill_tok_per_s=Interval.around(figures.prefill_tok_per_s, 0.4, 0.4),
        ttft_percentiles_s=first, inter_token_percentiles_s=gaps, basis=tuple(basis), reasons=tuple(reasons),
        is_queued=figures.wait_s > 0,
    )  # fmt: skip
