"""Step times from a sparse table of a slower model: a simulation asks for millions of them.

The knots are a geometric grid; between them step times are taken as linear in batch, mean context, chunk and the
tokens that a prompt token sees in the mean. What a chunk adds to a decode step is taken as independent of the context
of the decodes. Only knots that a run comes near are asked for. Batches up to 8 are exact.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence

from fitserve.predict.scheduling import StepTimes

_PER_DOUBLING = 4
_EXACT_UP_TO = 8
_USUAL_CONTEXT = 1024  # tokens of a sequence beside which a chunk is timed


def _knots(most: int) -> list[int]:
    """Every number up to 8, then four to a doubling, past `most`."""
    knots = list(range(1, _EXACT_UP_TO + 1))
    exponent = 1
    while knots[-1] <= most:
        knots.append(max(round(_EXACT_UP_TO * 2.0 ** (exponent / _PER_DOUBLING)), knots[-1] + 1))
        exponent += 1
    return knots


_KNOTS = _knots(1 << 24)
_COARSE = [0, *(1 << power for power in range(6, 26))]
"""Contexts and past tokens: 0, then doublings; attention goes with them in proportion."""
_BATCHES = [*(1 << power for power in range(16))]
"""Batches beside which a chunk is timed: it fills what the decodes leave of the weights' reading."""


class StepTable:
    """The same times as `model`, interpolated."""

    __slots__ = ("_added", "_decode", "_lines", "_model", "_prefill")

    def __init__(self, model: StepTimes) -> None:
        self._model = model
        self._decode: dict[tuple[int, int], float] = {}
        self._prefill: dict[tuple[int, int], float] = {}
        self._added: dict[tuple[int, int, int], float] = {}
        self._lines: dict[float, tuple[float, float, float, float]] = {}

    def decode_s(self, batch: float, context_tokens: float, /) -> float:
        """As `StepTimes.decode_s`."""
        line = self._lines.get(batch)
        if line is None or not line[0] <= context_tokens <= line[1]:
            line = self._lines[batch] = self._line(batch, context_tokens / batch)
        return line[2] + line[3] * context_tokens

    def prefill_s(self, chunk_tokens: float, past_tokens: float, /) -> float:
        """As `StepTimes.prefill_s`."""
        return _between(_KNOTS, chunk_tokens, lambda at: self._alone(at, past_tokens + chunk_tokens / 2))

    def mixed_s(self, batch: float, context_tokens: float, chunk_tokens: float, past_tokens: float, /) -> float:
        """As `StepTimes.mixed_s`."""
        seen = past_tokens + chunk_tokens / 2
        added = _between(
            _BATCHES, batch, lambda size: _between(_KNOTS, chunk_tokens, lambda at: self._beside(size, at, seen))
        )
        return self.decode_s(batch, context_tokens) + added

    def _line(self, batch: float, mean: float) -> tuple[float, float, float, float]:
        """Step time of a batch between two knots of its mean context: contexts of the ends in sum, level, slope."""
        upper = min(bisect_right(_COARSE, mean), len(_COARSE) - 1)
        low, high = _COARSE[upper - 1], _COARSE[upper]
        at_low = _between(_KNOTS, batch, lambda size: self._at_knot(size, low))
        at_high = _between(_KNOTS, batch, lambda size: self._at_knot(size, high))
        slope = (at_high - at_low) / ((high - low) * batch)
        return low * batch, high * batch, at_low - slope * low * batch, slope

    def _at_knot(self, batch: int, mean: int) -> float:
        found = self._decode.get((batch, mean))
        if found is None:
            found = self._decode[batch, mean] = self._model.decode_s(batch, mean * batch)
        return found

    def _alone(self, chunk: int, seen: float) -> float:
        def at(knot: int) -> float:
            found = self._prefill.get((chunk, knot))
            if found is None:
                found = self._prefill[chunk, knot] = self._model.prefill_s(chunk, knot - chunk / 2)
            return found

        return _between(_COARSE, seen, at)

    def _beside(self, batch: int, chunk: int, seen: float) -> float:
        if not chunk:
            return 0.0

        def at(knot: int) -> float:
            found = self._added.get((batch, chunk, knot))
            if found is None:
                context = batch * _USUAL_CONTEXT
                mixed = self._model.mixed_s(batch, context, chunk, knot - chunk / 2)
                found = self._added[batch, chunk, knot] = mixed - self._model.decode_s(batch, context)
            return found

        return _between(_COARSE, seen, at)


def _between(knots: Sequence[int], value: float, at: Callable[[int], float]) -> float:
    """The value between the two knots around it, linear; beyond the last knot the line goes on."""
    upper = min(bisect_right(knots, value), len(knots) - 1)
    low = knots[upper - 1]
    at_low = at(low)
    if low == value:
        return at_low
    high = knots[upper]
    return at_low + (at(high) - at_low) * (value - low) / (high - low)
