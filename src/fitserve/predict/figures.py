"""What a simulated run says: times of the requests as mean and percentiles, throughput, batch, memory."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from math import log, nan

_BINS_PER_E_FOLD = 200  # a bin is 0.5 % wide: far below the error of any predicted step time
_ZERO_BIN = -(10**9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """Mean and percentiles, in the unit of the field that holds it; NaN where nothing was counted."""

    mean: float
    p50: float
    p90: float
    p99: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Distribution":
        """Exact figures of the values; between two ranks linear, as numpy's default."""
        if not values:
            return cls(mean=nan, p50=nan, p90=nan, p99=nan)
        ranked = sorted(values)
        return cls(
            mean=sum(ranked) / len(ranked), p50=_rank(ranked, 0.5), p90=_rank(ranked, 0.9), p99=_rank(ranked, 0.99)
        )


def _rank(ranked: Sequence[float], share: float) -> float:
    place = (len(ranked) - 1) * share
    low = int(place)
    high = min(low + 1, len(ranked) - 1)
    return ranked[low] + (ranked[high] - ranked[low]) * (place - low)


class Histogram:
    """Counts of positive values in bins of equal ratio: a bounded store for the gaps of any number of tokens.

    The mean is exact; a percentile is the mean of its bin, so within 0.5 % of the exact one, and exact where the bin
    holds a single value.
    """

    __slots__ = ("_bins", "count", "total")

    def __init__(self) -> None:
        self._bins: dict[int, list[float]] = {}
        self.count = 0
        self.total = 0.0

    def add(self, value: float, count: int) -> None:
        """`count` times the value."""
        place = int(log(value) * _BINS_PER_E_FOLD) if value > 0 else _ZERO_BIN
        amount = value * count
        self.count += count
        self.total += amount
        found = self._bins.get(place)
        if found is None:
            self._bins[place] = [count, amount]
        else:
            found[0] += count
            found[1] += amount

    def add_series(self, first: float, last: float, steps: int, count: int) -> None:
        """`count` times each of `steps` values that go evenly from `first` to `last`."""
        parts = min(int(abs(last - first) / max(first, last) * _BINS_PER_E_FOLD) + 1, steps) if last != first else 1
        done = 0
        for part in range(parts):
            upto = steps * (part + 1) // parts
            middle = (done + upto - 1) / 2 / (steps - 1) if steps > 1 else 0.0
            self.add(first + (last - first) * middle, (upto - done) * count)
            done = upto

    def distribution(self) -> Distribution:
        """Mean and percentiles of all values."""
        if not self.count:
            return Distribution(mean=nan, p50=nan, p90=nan, p99=nan)
        bins = [found for _, found in sorted(self._bins.items())]
        p50, p90, p99 = (_bin_rank(bins, (self.count - 1) * share) for share in (0.5, 0.9, 0.99))
        return Distribution(mean=self.total / self.count, p50=p50, p90=p90, p99=p99)


def _bin_rank(bins: Sequence[Sequence[float]], place: float) -> float:
    """The value at a place among the ranks, between two ranks linear; a bin is (values, their sum)."""
    rank, before, low = int(place), 0.0, None
    value = nan
    for count, amount in bins:
        value = amount / count
        before += count
        if low is None and before > rank:
            low = value
        if before > rank + 1:
            break
    return value if low is None else low + (value - low) * (place - rank)


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """What a request must keep to count as good; None: no demand."""

    ttft_s: float | None = None
    tpot_s: float | None = None
    e2e_s: float | None = None

    def kept(self, ttft_s: float, tpot_s: float, e2e_s: float) -> bool:
        """Whether a request with these times keeps all targets."""
        return not (
            (self.ttft_s is not None and ttft_s > self.ttft_s)
            or (self.tpot_s is not None and tpot_s > self.tpot_s)
            or (self.e2e_s is not None and e2e_s > self.e2e_s)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingFigures:
    """Figures of a run.

    - `ttft_s`: from sending to the first token; `tpot_s`: (end-to-end - TTFT) / (output tokens - 1) of a request with
      more than one token; `itl_s`: the gap before every token but the first; `e2e_s`: from sending to the last token.
    - `goodput_per_s`: requests a second that keep all targets; None without targets. A single-token output has TPOT 0.
    - `mean_batch`, `peak_batch`: admitted sequences (prefilling or decoding), the mean over the time of the run.
    - `queue_share`: share of the requests' summed time in which they wait for admission, again after a preemption.
    - `kv_peak_tokens`: most tokens of the KV cache in use, whole blocks; `kv_peak_share` of the capacity, None without.
    - `rejected`: requests that could never run, being longer than the engine's limit or the KV cache; not in the times.
    - `recomputed_tokens`: prefilled again after a preemption.
    """

    request_count: int
    completed: int
    rejected: int
    makespan_s: float
    ttft_s: Distribution
    tpot_s: Distribution
    itl_s: Distribution
    e2e_s: Distribution
    prompt_tokens: int
    output_tokens: int
    output_tok_per_s: float
    total_tok_per_s: float
    requests_per_s: float
    goodput_per_s: float | None
    preemptions: int
    recomputed_tokens: int
    mean_batch: float
    peak_batch: int
    kv_peak_tokens: int
    kv_peak_share: float | None
    queue_share: float
    decode_steps: int
    prefill_steps: int


class Records:
    """The finished requests of a run: three numbers each."""

    __slots__ = ("_e2e", "_good", "_output_tokens", "_prompt_tokens", "_targets", "_tpot", "_ttft", "gaps")

    def __init__(self, targets: Targets | None) -> None:
        self._targets, self._good = targets, 0
        self._ttft, self._tpot, self._e2e = array("d"), array("d"), array("d")
        self._prompt_tokens = self._output_tokens = 0
        self.gaps = Histogram()

    def finished(self, sent_s: float, first_s: float, last_s: float, prompt: int, output: int) -> None:
        """A request of so many tokens: when it was sent, when its first and its last token came."""
        ttft, e2e, tpot = first_s - sent_s, last_s - sent_s, 0.0
        if output > 1:
            tpot = (last_s - first_s) / (output - 1)
            self._tpot.append(tpot)
        self._ttft.append(ttft)
        self._e2e.append(e2e)
        self._prompt_tokens += prompt
        self._output_tokens += output
        if self._targets is not None:
            self._good += self._targets.kept(ttft, tpot, e2e)

    def figures(
        self,
        *,
        makespan_s: float,
        queued_s: float,
        rejected: int,
        preemptions: int,
        recomputed_tokens: int,
        mean_batch: float,
        peak_batch: int,
        kv_peak_tokens: int,
        kv_peak_share: float | None,
        decode_steps: int,
        prefill_steps: int,
    ) -> ServingFigures:
        """The figures of a run; `queued_s` is the time that all requests waited, in sum."""
        per_s = 1 / makespan_s if makespan_s else 0.0
        total_s = sum(self._e2e)
        return ServingFigures(
            request_count=len(self._e2e) + rejected,
            completed=len(self._e2e),
            rejected=rejected,
            makespan_s=makespan_s,
            ttft_s=Distribution.of(self._ttft),
            tpot_s=Distribution.of(self._tpot),
            itl_s=self.gaps.distribution(),
            e2e_s=Distribution.of(self._e2e),
            prompt_tokens=self._prompt_tokens,
            output_tokens=self._output_tokens,
            output_tok_per_s=self._output_tokens * per_s,
            total_tok_per_s=(self._output_tokens + self._prompt_tokens) * per_s,
            requests_per_s=len(self._e2e) * per_s,
            goodput_per_s=self._good * per_s if self._targets is not None else None,
            preemptions=preemptions,
            recomputed_tokens=recomputed_tokens,
            mean_batch=mean_batch,
            peak_batch=peak_batch,
            kv_peak_tokens=kv_peak_tokens,
            kv_peak_share=kv_peak_share,
            queue_share=queued_s / total_s if total_s else 0.0,
            decode_steps=decode_steps,
            prefill_steps=prefill_steps,
        )
