"""Step times from a sparse table of a slower model: a simulation asks for millions of them.

The knots are a geometric grid over batch, mean context, chunk and past; between them step times are taken as linear.
Only knots that a run comes near are asked for. Batches up to 8 are exact.
"""

from bisect import bisect_right

from fitserve.predict.scheduling import StepTimes

_PER_DOUBLING = 4
_EXACT_UP_TO = 8
_MOST_KEPT = 1 << 16  # entries of the fast path; they are dropped together when there are more


def _knots(most: int) -> list[int]:
    """0, every number up to 8, then four to a doubling, past `most`."""
    knots = list(range(_EXACT_UP_TO + 1))
    exponent = 1
    while knots[-1] <= most:
        knots.append(max(round(_EXACT_UP_TO * 2.0 ** (exponent / _PER_DOUBLING)), knots[-1] + 1))
        exponent += 1
    return knots


_KNOTS = _knots(1 << 24)
_COARSE = [0, *(1 << power for power in range(6, 26))]
"""Contexts: 0, then doublings; attention reads the cache in proportion to it."""


class StepTable:
    """The same times as `model`, interpolated. Not for sharing between runs of different models."""

    __slots__ = ("_chunks", "_decode", "_lines", "_model", "_prefill")

    def __init__(self, model: StepTimes) -> None:
        self._model = model
        self._decode: dict[tuple[int, int], float] = {}
        self._prefill: dict[tuple[int, int], float] = {}
        self._lines: dict[int, tuple[float, float, float, float]] = {}
        self._chunks: dict[tuple[int, int], float] = {}

    def decode_s(self, batch: int, context_tokens: int) -> float:
        """As `StepTimes.decode_s`."""
        line = self._lines.get(batch)
        if line is None or not line[0] <= context_tokens <= line[1]:
            if not batch:
                return self._at_knot(0, 0)
            line = self._lines[batch] = self._line(batch, context_tokens / batch)
        return line[2] + line[3] * context_tokens

    def _line(self, batch: int, mean: float) -> tuple[float, float, float, float]:
        """Step time of a batch between two knots of its mean context: contexts of the ends in sum, level, slope."""
        upper = min(bisect_right(_COARSE, mean), len(_COARSE) - 1)
        low, high = _COARSE[upper - 1], _COARSE[upper]
        at_low, at_high = self._of_batch(batch, low), self._of_batch(batch, high)
        slope = (at_high - at_low) / ((high - low) * batch)
        return low * batch, high * batch, at_low - slope * low * batch, slope

    def _of_batch(self, batch: int, mean: int) -> float:
        upper = bisect_right(_KNOTS, batch)
        low, high = _KNOTS[upper - 1], _KNOTS[upper]
        at_low = self._at_knot(low, mean)
        if low == batch:
            return at_low
        return at_low + (self._at_knot(high, mean) - at_low) * (batch - low) / (high - low)

    def _at_knot(self, batch: int, mean: int) -> float:
        found = self._decode.get((batch, mean))
        if found is None:
            found = self._decode[batch, mean] = self._model.decode_s(batch, mean * batch)
        return found

    def prefill_s(self, chunk_tokens: int, past_tokens: int) -> float:
        """As `StepTimes.prefill_s`."""
        key = (chunk_tokens, past_tokens)
        found = self._chunks.get(key)
        if found is None:
            if len(self._chunks) >= _MOST_KEPT:
                self._chunks.clear()
            found = self._chunks[key] = self._between(chunk_tokens, past_tokens)
        return found

    def _between(self, chunk: int, past: int) -> float:
        upper = min(bisect_right(_COARSE, past), len(_COARSE) - 1)
        low, high = _COARSE[upper - 1], _COARSE[upper]
        at_low = self._of_chunk(chunk, low)
        if low == past:
            return at_low
        return at_low + (self._of_chunk(chunk, high) - at_low) * (past - low) / (high - low)

    def _of_chunk(self, chunk: int, past: int) -> float:
        upper = bisect_right(_KNOTS, chunk)
        low, high = _KNOTS[upper - 1], _KNOTS[upper]
        at_low = self._chunk_at_knot(low, past)
        if low == chunk:
            return at_low
        return at_low + (self._chunk_at_knot(high, past) - at_low) * (chunk - low) / (high - low)

    def _chunk_at_knot(self, chunk: int, past: int) -> float:
        if not chunk:
            return 0.0
        found = self._prefill.get((chunk, past))
        if found is None:
            found = self._prefill[chunk, past] = self._model.prefill_s(chunk, past)
        return found
