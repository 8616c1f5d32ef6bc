"""Variants side by side: models, formats, engines, GPUs, contexts; each is the best plan of its own request."""

import shlex
from dataclasses import dataclass
from typing import Any

from fitserve.foundation.errors import InputError, Problem
from fitserve.foundation.reasons import Reason
from fitserve.plan.answer import estimate, plan
from fitserve.plan.fields import Text, Texts
from fitserve.plan.request import EstimateRequest, HardwareRequest, PlanRequest
from fitserve.plan.world import World
from fitserve.predict.prices import DOLLAR, Rate
from fitserve.search.evaluate import Evaluated

_KEYS = tuple(name for name in PlanRequest.model_fields if name not in {"set"})
_MACHINES = ("gpu", "hardware")
_MOST = 8


class CompareRequest(HardwareRequest):
    """Variants as `MODEL key=value …` or `key=value …`; what a variant does not say is taken from the flags."""

    variants: Texts
    model: Text | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One variant: how it was written, its best plan (or what is nearest to one), and what was assumed."""

    written: str
    item: Evaluated | None
    unreadable: Reason | None = None
    notes: tuple[Reason, ...] = ()
    rate: Rate = DOLLAR
    use: str = "chat"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All variants in the order given."""

    request: CompareRequest
    variants: tuple[Variant, ...]

    @property
    def is_yes(self) -> bool:
        """Whether any of them fits."""
        return any(variant.item is not None and variant.item.fits for variant in self.variants)


def compare(request: CompareRequest, world: World) -> Comparison:
    """Every variant planned. Raises InputError with the problems of all variants."""
    if not 2 <= len(request.variants) <= _MOST:
        raise InputError.of("variants_wrong", given=len(request.variants), most=_MOST)
    found: list[Variant] = []
    problems: list[Problem] = []
    for written in request.variants:
        try:
            found.append(_variant(written, request, world))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(*problems)
    return Comparison(request=request, variants=tuple(found))


def _variant(written: str, request: CompareRequest, world: World) -> Variant:
    fields = _fields(written, request)
    answer = plan(PlanRequest.read(**fields), world)
    if answer.unreadable is not None:
        return Variant(written=written, item=None, unreadable=answer.unreadable, notes=answer.notes)
    if answer.plans:
        return Variant(written=written, item=answer.plans[0], notes=answer.notes, rate=answer.rate, use=answer.use)
    if answer.rejected:
        return Variant(written=written, item=answer.rejected[0], notes=answer.notes, rate=answer.rate, use=answer.use)
    judged = estimate(EstimateRequest.read(**fields), world)
    return Variant(written=written, item=next(iter(judged.rejected), None), notes=judged.notes)


def _fields(written: str, request: CompareRequest) -> dict[str, Any]:
    """The request of a variant: its own words over the flags."""
    fields = request.given("variants")
    reader = shlex.shlex(written, posix=True)
    reader.whitespace_split, reader.escape, reader.commenters = True, "", ""  # a backslash belongs to a Windows path
    try:
        words = list(reader)
    except ValueError as error:
        raise InputError.of("variant_text_wrong", given=written, known=_KEYS) from error
    for position, word in enumerate(words):
        key, equals, value = word.partition("=")
        name = key.strip().lstrip("-").replace("-", "_")
        if equals and name in _KEYS:
            if name in _MACHINES:  # a variant on another machine leaves that of the flags
                fields = {key: given for key, given in fields.items() if key not in _MACHINES}
            fields[name] = tuple(value.split(",")) if name in {"gpu", "engine"} else value
        elif position == 0 and not equals:
            fields["model"] = word
        else:
            raise InputError.of("variant_text_wrong", given=word, known=_KEYS)
    return fields
