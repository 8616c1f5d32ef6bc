"""What a quantized KV cache costs: few figures exist, so the answer is a range and says how it was found."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from fitserve.footprint.kv_cache import BYTES_PER_ELEMENT
from fitserve.foundation.intervals import Basis, Interval
from fitserve.predict.loss_rows import KvMeasurement, kv_measurements

_EIGHT_BITS: Final = ("q8", "fp8", "int8")
_FOUR_BITS: Final = ("q4", "iq4", "int4")
_WIDTHS: Final = (4.5, 8.0)  # bits of an element: q4_0 with its scale, fp8


@dataclass(frozen=True, slots=True, kw_only=True)
class KvQuality:
    """`kl_divergence` against a 16-bit cache: the range of the published figures, most of them over short texts.

    `measured`: figures of this format; `way`: released (16 bit), other_models, or interpolated between 4 and 8 bits.
    """

    kv_format: str
    bits: float
    kl_divergence: Interval
    way: str
    measured: tuple[KvMeasurement, ...]
    basis: tuple[Basis, ...]


def kv_bits(kv_format: str) -> float | None:
    """Bits of an element with its scale; None for a format that nobody described (auto, or a fork's)."""
    if kv_format in BYTES_PER_ELEMENT:
        return 8 * BYTES_PER_ELEMENT[kv_format]
    digits = "".join(character for character in kv_format if character.isdigit())
    return float(digits[:1]) if kv_format.startswith(("q", "iq", "int")) and digits else None


def kv_quality(kv_format: str) -> KvQuality | None:
    """The cost of a KV format; None for one of unknown width."""
    bits = kv_bits(kv_format)
    if bits is None:
        return None
    if bits >= 16:
        exact = Basis("exact", "16 bit and more is the baseline")
        return _answer(kv_format, bits, Interval.exact(0.0), "released", (), (exact,))
    mine = tuple(row for row in kv_measurements() if kv_format in row.kv_format.split())
    low, high = _range(_FOUR_BITS), _range(_EIGHT_BITS)
    share = min(max((bits - _WIDTHS[0]) / (_WIDTHS[1] - _WIDTHS[0]), 0.0), 1.0)
    ends = ((low.low, high.low), (low.likely, high.likely), (low.high, high.high))
    divergence = Interval(*(math.exp((1 - share) * math.log(four) + share * math.log(eight)) for four, eight in ends))
    way = "other_models" if mine else "interpolated"
    basis = tuple(
        Basis("measured", source) for source in dict.fromkeys(row.source for row in mine or kv_measurements())
    )
    return _answer(kv_format, bits, divergence, way, mine, basis)


def _answer(
    kv_format: str,
    bits: float,
    divergence: Interval,
    way: str,
    mine: tuple[KvMeasurement, ...],
    basis: tuple[Basis, ...],
) -> KvQuality:
    return KvQuality(kv_format=kv_format, bits=bits, kl_divergence=divergence, way=way, measured=mine, basis=basis)


@lru_cache(maxsize=4)
def _range(names: tuple[str, ...]) -> Interval:
    """Least, geometric mean and most of the published divergences of formats with these beginnings."""
    losses = sorted(
        row.kl_divergence
        for row in kv_measurements()
        if any(word.startswith(names) for word in row.kv_format.split())
        and row.kl_divergence is not None
        and row.kl_divergence > 0
    )
    middle = math.exp(math.fsum(math.log(loss) for loss in losses) / len(losses))
    return Interval(losses[0], middle, losses[-1])
