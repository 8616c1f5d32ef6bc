"""Step times from a sparse table of a slower model: a simulation asks for millions of them.

The knots are a geometric grid; between them step times are taken as linear in batch, mean context, chunk and the
tokens that a prompt token sees in the mean. What a chunk adds to a decode step is taken as independent of the context
of the decodes. Only knots that a run comes near are asked for. Batches up to 8 are exact.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import product

from fitserve.predict.scheduling import StepTimes

_EXACT_UP_TO = 8
_USUAL_CONTEXT = 1024  # tokens of a sequence beside which a chunk is timed


def _knots(per_doubling: int, most: int) -> list[int]:
    """Every number up to 8, then so many to a doubling, past `most`."""
    knots = list(range(1, _EXACT_UP_TO + 1))
    while knots[-1] <= most:
        exponent = (len(knots) - _EXACT_UP_TO + 1) / per_doubling
        knots.append(round(_EXACT_UP_TO * 2.0**exponent))
    return knots


_SIZES = _knots(4, 1 << 16)
"""Batches of decodes."""
_CHUNKS = _knots(2, 1 << 24)
_COARSE = [0, *(1 << power for power in range(6, 26))]
"""Contexts and past tokens: 0, then doublings; attention goes with them in proportion."""
_BESIDE = [1 << power for power in range(0, 17, 2)]
"""Batches beside which a chunk is timed: it fills what the decodes leave of the weights' reading."""


class StepTable:
    """The same times as `model`, interpolated."""

    __slots__ = ("_added", "_alone", "_cells", "_decode", "_lines", "_model")

    def __init__(self, model: StepTimes) -> None:
        self._model = model
        self._decode: dict[tuple[int, int], float] = {}
        self._alone: dict[tuple[int, int], float] = {}
        self._added: dict[tuple[int, int, int], float] = {}
        self._cells: dict[tuple[int, int, int], tuple[float, ...]] = {}
        self._lines: dict[float, tuple[float, float, float, float]] = {}

    def decode_s(self, batch: float, context_tokens: float, /) -> float:
        """As `StepTimes.decode_s`."""
        line = self._lines.get(batch)
        if line is None or not line[0] <= context_tokens <= line[1]:
            line = self._lines[batch] = self._line(batch, context_tokens / batch)
        return line[2] + line[3] * context_tokens

    def prefill_s(self, chunk_tokens: float, past_tokens: float, /) -> float:
        """As `StepTimes.prefill_s`."""
        seen = past_tokens + chunk_tokens / 2

        def of_chunk(chunk: int) -> float:
            return _between(_COARSE, seen, lambda knot: self._prefill(chunk, knot))

        return _between(_CHUNKS, chunk_tokens, of_chunk)

    def mixed_s(self, batch: float, context_tokens: float, chunk_tokens: float, past_tokens: float, /) -> float:
        """As `StepTimes.mixed_s`."""
        seen = past_tokens + chunk_tokens / 2
        key = (bisect_right(_BESIDE, batch), bisect_right(_CHUNKS, chunk_tokens), bisect_right(_COARSE, seen))
        cell = self._cells.get(key)
        if cell is None:
            cell = self._cells[key] = self._cell(*key)
        u, v, w = (batch - cell[0]) * cell[1], (chunk_tokens - cell[2]) * cell[3], (seen - cell[4]) * cell[5]
        near = cell[6] + (cell[7] - cell[6]) * w
        near += (cell[8] + (cell[9] - cell[8]) * w - near) * v
        far = cell[10] + (cell[11] - cell[10]) * w
        far += (cell[12] + (cell[13] - cell[12]) * w - far) * v
        return self.decode_s(batch, context_tokens) + near + (far - near) * u

    def _cell(self, *uppers: int) -> tuple[float, ...]:
        """Low end and 1 / width along batch, chunk and tokens seen, then what a chunk adds at the eight corners."""
        axes = []
        for axis, upper in zip((_BESIDE, _CHUNKS, _COARSE), uppers, strict=True):
            inside = min(max(upper, 1), len(axis) - 1)
            axes.append((axis[inside - 1], axis[inside]))
        ends = [number for low, high in axes for number in (low, 1 / (high - low))]
        return (*ends, *(self._beside(*corner) for corner in product(*axes)))

    def _line(self, batch: float, mean: float) -> tuple[float, float, float, float]:
        """Step time of a batch between two knots of its mean context: contexts of the ends in sum, level, slope."""
        upper = min(bisect_right(_COARSE, mean), len(_COARSE) - 1)
        low, high = _COARSE[upper - 1], _COARSE[upper]
        at_low = _between(_SIZES, batch, lambda size: self._at_knot(size, low))
        at_high = _between(_SIZES, batch, lambda size: self._at_knot(size, high))
        slope = (at_high - at_low) / ((high - low) * batch)
        return low * batch, high * batch, at_low - slope * low * batch, slope

    def _at_knot(self, batch: int, mean: int) -> float:
        found = self._decode.get((batch, mean))
        if found is None:
            found = self._decode[batch, mean] = self._model.decode_s(batch, mean * batch)
        return found

    def _prefill(self, chunk: int, seen: int) -> float:
        found = self._alone.get((chunk, seen))
        if found is None:
            found = self._alone[chunk, seen] = self._model.prefill_s(chunk, seen - chunk / 2)
        return found

    def _beside(self, batch: int, chunk: int, seen: int) -> float:
        """What a chunk adds to a decode step at a knot."""
        found = self._added.get((batch, chunk, seen))
        if found is None:
            mixed = self._model.mixed_s(batch, batch * _USUAL_CONTEXT, chunk, seen - chunk / 2)
            found = self._added[batch, chunk, seen] = mixed - self._at_knot(batch, _USUAL_CONTEXT)
        return found


def _between(knots: Sequence[int], value: float, at: Callable[[int], float]) -> float:
    """The value between the two knots around it, linear; before the first and beyond the last the line goes on."""
    upper = min(max(bisect_right(knots, value), 1), len(knots) - 1)
    low = knots[upper - 1]
    at_low = at(low)
    if low == value:
        return at_low
    high = knots[upper]
    return at_low + (at(high) - at_low) * (value - low) / (high - low)
