"""How much divergence a weight format brings: fitted ladders of formats, and how models differ from the reference."""

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from fitserve.foundation.facts import load_json
from fitserve.models.formats import WeightFormat

_SMALLEST_WEIGHTS: Final = 0.5e9  # the sizes that the law was fitted on; beyond them it stands still
_LARGEST_WEIGHTS: Final = 405e9
_RAISED: Final = ("_XL", "_XXL", "_P")
_RAISED_LARGE: Final = "_L"


@lru_cache(maxsize=1)
def law() -> Mapping[str, Any]:
    """The fitted file; written by tools/fit_format_quality.py."""
    content: Mapping[str, Any] = load_json("fitserve.predict.data", "format_law.json")
    return content


def size_of_weights(weights: float, reference: float, has_experts: bool) -> float:
    """Logarithm of the number of weights a token passes over the reference's, inside the sizes that were measured.

    The models of the fit are dense. Few active weights count as a small model; many experts count as no gain, since
    nothing measured says that they are one.
    """
    size = math.log(min(max(weights, _SMALLEST_WEIGHTS), _LARGEST_WEIGHTS) / reference)
    return min(0.0, size) if has_experts else size


def plain_mix(weight_format: str) -> str:
    """`Q4_K_M` of gguf:UD-Q4_K_XL: publishers' recipes that raise some tensors stand at the mix that they raise."""
    name = weight_format.removeprefix("gguf:").removeprefix("UD-")
    ending = next((ending for ending in _RAISED if name.endswith(ending)), None)
    if ending is None and name.endswith(_RAISED_LARGE) and name != "Q3_K_L":
        ending = _RAISED_LARGE
    if ending is not None:
        name = name.removesuffix(ending)
        return f"{name}_M" if name in {"Q3_K", "Q4_K", "Q5_K"} else "Q8_0" if name == "Q8_K" else name
    return name


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """Where a format stands: `log_divergence` on the scale of the reference model, with its own `deviation`.

    `measured`: a measured format of this name stands there; otherwise it lies `between` the named ones. `family` holds
    formats that are monotone in `bits` among each other.
    """

    family: str
    bits: float
    log_divergence: float
    deviation: float
    measured: bool
    between: tuple[str, ...]


@lru_cache(maxsize=512)
def rung(weight_format: WeightFormat) -> Rung | None:
    """The place of a quantized format; None for one whose bits nobody says."""
    families = law()["families"]
    name = plain_mix(weight_format.name) if weight_format.family == "gguf" else weight_format.name
    order = [f for f in families if f.startswith(weight_format.family)] or ["packed"]
    for family in [*order, "packed"]:
        if name in families[family]:
            bits, value = families[family][name]
            deviation = law()["packed_sd"].get(name, law()["any_sd"]) if family == "packed" else 0.0
            return Rung(family=family, bits=bits, log_divergence=value, deviation=deviation, measured=True, between=())
    bits = weight_format.effective_bits()
    if not bits:
        return None
    if weight_format.family in {"exl2", "exl3"}:
        points = [(b, value, of) for of, (b, value) in families[weight_format.family].items()]
        return _between(weight_format.family, bits, points, 0.0)
    labels = sorted((b, _full(family, of)) for family, members in families.items() for of, (b, _) in members.items())
    points = [(b, value, label) for (b, value), (_, label) in zip(law()["any"], labels, strict=True)]
    return _between("any", bits, points, law()["any_sd"])


def _full(family: str, name: str) -> str:
    return f"gguf:{name}" if family.startswith("gguf") else name


def _between(family: str, bits: float, points: list[tuple[float, float, str]], deviation: float) -> Rung:
    """Linear in bits between the two nearest points; beyond the ends, the slope of the last two goes on."""
    points = sorted(points)
    widths = sorted({point[0] for point in points})
    at = min(max(bisect_left(widths, bits), 1), len(widths) - 1)
    (low, low_value, low_name), (high, high_value, high_name) = (
        next(point for point in points if point[0] == width) for width in (widths[at - 1], widths[at])
    )
    slope = min(0.0, (high_value - low_value) / (high - low))
    return Rung(
        family=family,
        bits=bits,
        log_divergence=low_value + slope * (bits - low),
        deviation=deviation,
        measured=False,
        between=(low_name, high_name),
    )


def loss_class(divergence: float) -> str:
    """near_lossless, small_loss, visible_loss or severe_loss, by limits fitted to the classes by bits; original at 0."""
    return next(str(row["class"]) for row in law()["classes"] if row["most"] is None or divergence <= row["most"])


def disagreements() -> list[tuple[str, str, str]]:
    """(format, class by bits, class by measured loss) where the two differ."""
    return [(name, by_bits, measured) for name, by_bits, measured in law()["disagreements"]]


def score_loss_pct(log_divergence: float) -> float:
    """Share of a benchmark score that such a divergence costs, in percent, as on the models where both were measured."""
    intercept, slope, _ = law()["task"]
    return min(MOST_LOST_PCT, math.exp(intercept + slope * log_divergence))


MOST_LOST_PCT: Final = 65.0
"""A four-choice test answered by chance keeps 25 points of about 70: the law ends there."""
