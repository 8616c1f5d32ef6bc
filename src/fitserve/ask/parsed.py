"""Fields that somebody else read out of a question (an OpenAI-compatible endpoint), checked before they count.

Only names and what was asked are taken; every number of the answer is still computed here.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from fitserve.ask.types import KINDS, Named, Understood
from fitserve.engines.registry import entry
from fitserve.foundation.errors import FitserveError
from fitserve.hardware.identify import identify
from fitserve.models.formats import parse_format
from fitserve.models.names import resolve_name

Parser = Callable[[str], Mapping[str, Any] | None]
FIELDS: Final = ("kind", "model", "gpu", "gpu_count", "format", "engine")
_MOST = 1024


def merged(asked: Understood, given: Mapping[str, Any] | None) -> Understood:
    """The fields of a question with those that were missing; whatever is no known name is left out."""
    if not given:
        return asked
    models = asked.models or _named(given.get("model"), lambda text: resolve_name(text).id)
    engines = asked.engines or _named(given.get("engine"), lambda text: entry(text).id)
    formats = asked.formats or _named(given.get("format"), lambda text: parse_format(text).name)
    cards = _named(given.get("gpu"), lambda text: identify(text).device.id)
    count = given.get("gpu_count")
    number = count if isinstance(count, int) and not isinstance(count, bool) and 1 <= count <= _MOST else 1
    gpus = asked.gpus or tuple(Named(gpu=gpu, count=number) for gpu in cards)
    kind = given.get("kind")
    wanted = kind if asked.kind == "unclear" and kind in KINDS and (models or gpus) else asked.kind
    return replace(
        asked,
        kind=wanted,
        models=models,
        engines=engines,
        formats=formats,
        gpus=gpus,
        unknown=() if models else asked.unknown,
    )


def _named(given: object, find: Callable[[str], str]) -> tuple[str, ...]:
    if not isinstance(given, str) or not 0 < len(given) < 200:
        return ()
    try:
        return (find(given),)
    except FitserveError:
        return ()
