"""What a weight format costs in quality: a divergence with its interval, what scores it usually takes, and the figures.

A loss is known in one of four ways, and the answer says in which: the weights are as released; the same model was
measured in this format; other models were; or nobody was, and the place between the nearest measured widths is taken.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from fitserve.foundation.intervals import Basis, Interval
from fitserve.models.formats import WeightFormat, gguf_base_type, parse_format
from fitserve.models.types import LanguageModel
from fitserve.predict.format_law import Rung, law, loss_class, plain_mix, rung, score_loss_pct, size_of_weights
from fitserve.predict.loss_rows import Measurement, measurements

RELEASED: Final = "released"
MEASURED: Final = "measured"
OTHER_MODELS: Final = "other_models"
INTERPOLATED: Final = "interpolated"
_NINETY_PERCENT: Final = 1.645
_SIXTEEN_BITS: Final = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatQuality:
    """What a format costs. `kl_divergence` in nats a token against 16-bit weights, `score_kept_pct` of a benchmark score.

    `way`: released, measured, other_models or interpolated (then `between` names the two formats). `loss_class`:
    original, near_lossless, small_loss, visible_loss, severe_loss. `measured`: figures of this very model and format;
    `elsewhere`: of the format on other models. `within_noise`: only scores are known, and they moved less than they do
    by chance.
    """

    weight_format: str
    bits: float
    kl_divergence: Interval
    score_kept_pct: Interval
    loss_class: str
    way: str
    between: tuple[str, ...]
    within_noise: bool
    measured: tuple[Measurement, ...]
    elsewhere: tuple[Measurement, ...]
    basis: tuple[Basis, ...]


def format_quality(weight_format: WeightFormat, model: LanguageModel | None = None) -> FormatQuality | None:
    """The cost of a format for a model, or for a dense one of 8 billion weights; None when its width is unknown."""
    if (
        not weight_format.is_quantized
        or weight_format.effective_bits() > _SIXTEEN_BITS
        or _as_released(weight_format, model)
    ):
        return _nothing_lost(weight_format)
    place = rung(parse_format("gguf:Q8_0") if _stays_mostly(weight_format, model) else weight_format)
    if place is None:
        return None
    names = _names(model)
    mine = tuple(row for row in measurements() if row.weight_format == weight_format.name and row.model in names)
    logs, way = _estimate(weight_format, place, model)
    elsewhere = tuple(
        row for row in measurements() if row.weight_format == weight_format.name and row.model not in names
    )
    # the figure itself is only as good as the next file of that name: recipes and importance matrices differ
    reach = _NINETY_PERCENT * _deviation(place, model)
    divergence = Interval(*(math.exp(logs + step) for step in (-reach, 0.0, reach)))
    noise = weight_format.name in law()["within_noise"]
    law_reach = math.hypot(reach, _NINETY_PERCENT * law()["task"][2] / law()["task"][1])
    kept = Interval(*(100 - score_loss_pct(logs + step) for step in (law_reach, 0.0, -law_reach)))
    if noise:
        divergence, kept = Interval(0.0, divergence.likely, divergence.high), Interval(kept.low, kept.likely, 100.0)
    return FormatQuality(
        weight_format=weight_format.name,
        bits=place.bits,
        kl_divergence=divergence,
        score_kept_pct=kept,
        loss_class="near_lossless" if noise else loss_class(divergence.likely),
        way=way,
        between=place.between,
        within_noise=noise,
        measured=mine,
        elsewhere=elsewhere,
        basis=_basis(way, place, mine, elsewhere),
    )


def compare_formats(model: LanguageModel, formats: Iterable[str]) -> tuple[FormatQuality, ...]:
    """Formats of one model, least loss first; raises InputError for a name that is none. Unknown ones are left out."""
    found = (format_quality(parse_format(name), model) for name in formats)
    return tuple(
        sorted(
            (item for item in found if item is not None),
            key=lambda q: (q.kl_divergence.likely, -q.bits, q.weight_format),
        )
    )


def _stays_mostly(weight_format: WeightFormat, model: LanguageModel | None) -> bool:
    """A GGUF mix named after the format of the release (MXFP4_MOE of gpt-oss): experts stay, the rest is Q8_0."""
    if model is None or model.checkpoint is None or model.base_id is not None or weight_format.gguf_mix is None:
        return False
    return gguf_base_type(weight_format.gguf_mix) == model.checkpoint.weight_format.upper()


def _as_released(weight_format: WeightFormat, model: LanguageModel | None) -> bool:
    return (
        model is not None
        and model.base_id is None
        and model.checkpoint is not None
        and model.checkpoint.weight_format == weight_format.name
    )


def _nothing_lost(weight_format: WeightFormat) -> FormatQuality:
    return FormatQuality(
        weight_format=weight_format.name,
        bits=weight_format.effective_bits(),
        kl_divergence=Interval.exact(0.0),
        score_kept_pct=Interval.exact(100.0),
        loss_class="original",
        way=RELEASED,
        between=(),
        within_noise=False,
        measured=(),
        elsewhere=(),
        basis=(Basis("exact", "the weights as released, or in 16 bit"),),
    )


def _names(model: LanguageModel | None) -> tuple[str, ...]:
    return () if model is None else tuple(name for name in (model.id, model.base_id) if name)


@lru_cache(maxsize=256)
def active_weights(model: LanguageModel) -> tuple[float, bool]:
    """Weights that a token of text passes, and whether experts are left out of them (by the first layer with experts)."""
    total = model.params("text")
    idle = sum(
        group.elements * (1 - experts.used / experts.count)
        for group in model.tensors
        if group.part == "text" and "exps" in group.role
        for experts in [next(layer.experts for layer in model.layers if layer.experts is not None)]
    )
    return total - idle, idle > 0


def _shift(model: LanguageModel | None, within_noise: bool) -> tuple[float, bool]:
    """How much more than the reference a model loses, in logarithm; and whether that was measured for it.

    Losses within the noise of scores were taken as one value for all sizes, so size does not move them here either.
    """
    slope: float = 0.0 if within_noise else law()["size_slope"]
    size = 0.0
    if model is not None:
        weights, has_experts = active_weights(model)
        size = size_of_weights(weights, law()["reference_weights"], has_experts)
    own = next((law()["offsets"][name] for name in _names(model) if name in law()["offsets"]), None)
    return (law()["usual_offset"] if own is None else own) + slope * size, own is not None


@lru_cache(maxsize=256)
def _own_points(family: str, names: tuple[str, ...]) -> tuple[tuple[float, float, str], ...]:
    """(bits, log divergence, format) of a model's own measurements in a family; perplexity only where nothing better is."""
    members = law()["families"].get(family, {})
    found: dict[str, dict[bool, list[float]]] = {}
    for row in measurements():
        loss = row.kl_divergence
        if row.model in names and loss is not None and loss > 0:
            direct = row.metric.startswith("mean KL")
            found.setdefault(row.weight_format, {}).setdefault(direct, []).append(math.log(loss))
    points = []
    for name, by_kind in found.items():
        member = plain_mix(name) if family.startswith("gguf") else name
        if member in members:
            values = by_kind.get(True) or by_kind[False]
            points.append((members[member][0], math.fsum(values) / len(values), name))
    return tuple(points)


def _estimate(weight_format: WeightFormat, place: Rung, model: LanguageModel | None) -> tuple[float, str]:
    """Log divergence and the way it is known. The model's own figures bound its other formats of the family."""
    shift, _ = _shift(model, weight_format.name in law()["within_noise"])
    value = place.log_divergence + shift
    points = () if place.family in {"packed", "any"} else _own_points(place.family, _names(model))
    exact = [own for _, own, name in points if name == weight_format.name]
    narrower = [own for bits, own, _ in points if bits < place.bits]
    wider = [own for bits, own, _ in points if bits > place.bits]
    if exact:
        value = exact[0]
    # more bits never lose more within a family, whatever one measurement printed
    value = min([value, *([min(narrower)] if narrower else [])])
    value = max([value, *([max(wider)] if wider and not (narrower and max(wider) > min(narrower)) else [])])
    if exact:
        return value, MEASURED
    return value, OTHER_MODELS if place.measured else INTERPOLATED


def _deviation(place: Rung, model: LanguageModel | None) -> float:
    _, known = _shift(model, False)
    between_models = 0.0 if known else law()["model_sd"]
    return math.hypot(law()["within_model_sd"], between_models, place.deviation)


def _basis(
    way: str, place: Rung, mine: tuple[Measurement, ...], elsewhere: tuple[Measurement, ...]
) -> tuple[Basis, ...]:
    if way == INTERPOLATED:
        first = Basis(
            "estimated", f"no measurement: between {place.between[0]} and {place.between[1]} by bits per weight"
        )
    else:
        first = Basis("measured" if way == MEASURED else "fitted", "predict/data/format_law.json")
    sources = dict.fromkeys(row.source for row in (*mine, *elsewhere))
    return (first, *(Basis("measured", source) for source in list(sources)[:4]))
