"""Figures of a load from its records, by the definitions of `vllm bench serve` (docs/bench.md; vllm/benchmarks/serve.py)."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from fitserve.bench.records import RequestRecord

_MS: Final = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """Longest times of a request that counts for goodput, in seconds; None: not asked."""

    ttft_s: float | None = None
    inter_token_s: float | None = None
    e2e_s: float | None = None

    @property
    def are_given(self) -> bool:
        """Whether there is any."""
        return (self.ttft_s, self.inter_token_s, self.e2e_s) != (None, None, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Milliseconds: mean, population standard deviation, and percentiles with linear interpolation, as numpy does."""

    mean: float
    std: float
    p50: float
    p90: float
    p99: float
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One load. Throughputs are by the whole duration; a summary is None where no request has that time."""

    completed: int
    failed: int
    duration_s: float
    total_input_tokens: int
    total_output_tokens: int
    ttft_ms: Summary | None = None
    inter_token_ms: Summary | None = None
    itl_ms: Summary | None = None
    e2e_ms: Summary | None = None
    queue_ms: Summary | None = None
    peak_output_tok_per_s: float | None = None
    peak_concurrent_requests: int | None = None
    good: int | None = None
    """Requests within the targets; None without targets."""
    errors: Mapping[str, int] = field(default_factory=dict)

    def per_second(self, amount: float) -> float:
        """An amount by the duration."""
        return amount / self.duration_s if self.duration_s > 0 else 0.0

    @property
    def request_per_s(self) -> float:
        """Completed requests a second."""
        return self.per_second(self.completed)

    @property
    def output_tok_per_s(self) -> float:
        """Output tokens of all requests a second."""
        return self.per_second(self.total_output_tokens)

    @property
    def total_tok_per_s(self) -> float:
        """Prompt and output tokens a second."""
        return self.per_second(self.total_input_tokens + self.total_output_tokens)

    @property
    def goodput_per_s(self) -> float | None:
        """Requests within the targets a second."""
        return None if self.good is None else self.per_second(self.good)


def summary(seconds: Iterable[float]) -> Summary | None:
    """Summary of times in seconds; None of none."""
    values = sorted(seconds)
    if not values:
        return None
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / len(values)
    return Summary(
        mean=mean * _MS, std=math.sqrt(variance) * _MS, count=len(values),
        p50=_percentile(values, 50) * _MS, p90=_percentile(values, 90) * _MS, p99=_percentile(values, 99) * _MS,
    )  # fmt: skip


def _percentile(ordered: Sequence[float], percent: float) -> float:
    place = (len(ordered) - 1) * percent / 100
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


def figures(records: Sequence[RequestRecord], duration_s: float, targets: Targets) -> Figures:
    """Figures of the records of one load that took `duration_s`."""
    done = [record for record in records if record.failure is None]
    peak_tokens, peak_requests = _peaks(done)
    queued = [record.queue_s for record in done] if any(record.queue_s > 0 for record in done) else []
    return Figures(
        completed=len(done),
        failed=len(records) - len(done),
        duration_s=duration_s,
        total_input_tokens=sum(record.prompt_tokens for record in done),
        total_output_tokens=sum(record.output_tokens for record in done),
        ttft_ms=summary(record.ttft_s for record in done),
        inter_token_ms=summary(gap for record in done if (gap := record.tpot_s) is not None),
        itl_ms=summary(gap for record in done for gap in record.gaps_s),
        e2e_ms=summary(record.latency_s for record in done),
        queue_ms=summary(queued),
        peak_output_tok_per_s=peak_tokens,
        peak_concurrent_requests=peak_requests,
        good=sum(_is_good(record, targets) for record in done) if targets.are_given else None,
        errors=dict(sorted(Counter(r.failure.kind for r in records if r.failure is not None).items())),
    )


def _is_good(record: RequestRecord, targets: Targets) -> bool:
    """Every target met; a single token has no gap to miss."""
    pairs = (
        (targets.ttft_s, record.ttft_s),
        (targets.inter_token_s, record.tpot_s or 0.0),
        (targets.e2e_s, record.latency_s),
    )
    return all(target is None or value <= target for target, value in pairs)


def _peaks(done: Sequence[RequestRecord]) -> tuple[float | None, int | None]:
    """Most chunks in a second, and most requests under way in one: seconds are counted from the first request."""
    if not done:
        return None, None
    first = min(record.start_s for record in done)
    chunks: Counter[int] = Counter()
    active: Counter[int] = Counter()
    for record in done:
        begin = record.start_s - first
        chunks.update(int(begin + at) for at in record.chunk_s)
        active.update(range(int(begin), int(begin + record.latency_s) + 1))
    return float(max(chunks.values())), max(active.values())
