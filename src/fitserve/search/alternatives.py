"""Models of the catalogue on a machine: the best plan of each, and the one nearest to a model that does not fit."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from fitserve.engines.contract import Deployment, Engine
from fitserve.foundation.errors import FitserveError
from fitserve.hardware.types import Machine
from fitserve.models.catalog.lookup import catalog_model, rows
from fitserve.models.formats import WeightFormat
from fitserve.models.types import LanguageModel
from fitserve.search.enumerate import candidates, deployments
from fitserve.search.evaluate import Evaluated, Evaluator, Fix, quality_class, weights_may_fit
from fitserve.search.rank import closeness_key, rank_key
from fitserve.search.wishes import Wishes
from fitserve.workload.types import Workload

_FEWEST_BITS = 4.0
"""Another model is proposed at 4 bits or more: below, a smaller model at more bits is better (facts/quality.json)."""
_MODELS_TRIED = 24
_NO_CHAT = {"base", "embedding", "reranker", "derivative"}
_CURRENT_MONTHS = 18


def is_chat(row: Mapping[str, Any]) -> bool:
    """Whether a catalogue row is an original model that answers chats."""
    return row["quantized_from"] is None and not _NO_CHAT & set(row["tags"] or ())


def best_of_model(
    model: LanguageModel,
    machine: Machine,
    workload: Workload,
    wishes: Wishes,
    evaluate: Evaluator,
    fewest_bits: float = 0.0,
) -> Evaluated | None:
    """The best plan of a model, formats tried from the widest down; without a plan, the candidate nearest to fitting."""
    length = min(workload.context_tokens, model.max_context_tokens)
    work = replace(workload, context_tokens=length)
    fitting: list[Evaluated] = []
    nearest: list[Evaluated] = []
    for engine, version in wishes.engines:
        found = _widest(engine, version, model, machine, work, wishes, evaluate, fewest_bits)
        (fitting if found is not None and found.fits else nearest).extend([] if found is None else [found])
    if fitting:
        return min(fitting, key=rank_key)
    return min(nearest, key=closeness_key, default=None)


def _widest(
    engine: Engine,
    version: str,
    model: LanguageModel,
    machine: Machine,
    workload: Workload,
    wishes: Wishes,
    evaluate: Evaluator,
    fewest_bits: float,
) -> Evaluated | None:
    """The best plan of the best quality class in which anything fits; else the candidate nearest to fitting."""
    closest: Evaluated | None = None
    classes: dict[int, list[WeightFormat]] = {}
    for candidate in candidates(engine, version, model, machine, wishes):
        offered = candidate.weight_format
        if not candidate.needs_quantizing and offered.effective_bits() >= fewest_bits:
            classes.setdefault(quality_class(model, offered), []).append(offered)
    for _, formats in _promising(classes, model, machine, wishes):
        judged: list[Evaluated] = []
        for offered in formats:
            chosen = replace(wishes, weight_format=offered)
            judged += [
                evaluate(d, made)
                for d, made in deployments(engine, version, model, machine, workload, chosen)
                if _is_whole(d, machine)
            ]
        fitting = [item for item in judged if item.fits]
        if fitting:
            return min(fitting, key=rank_key)
        closest = min([*judged, *([closest] if closest else [])], key=closeness_key)
    return closest


def _promising(
    classes: Mapping[int, list[WeightFormat]], model: LanguageModel, machine: Machine, wishes: Wishes
) -> list[tuple[int, list[WeightFormat]]]:
    """Classes best first, without formats whose weights alone are beyond all memory; the smallest format stays to be judged."""
    if not machine.devices or wishes.offload != "no":
        return sorted(classes.items())
    least = min((item.effective_bits() for formats in classes.values() for item in formats), default=0.0)
    kept = {
        rank: [item for item in formats if item.effective_bits() == least or weights_may_fit(model, item, machine)]
        for rank, formats in classes.items()
    }
    return sorted((rank, formats) for rank, formats in kept.items() if formats)


def _is_whole(deployment: Deployment, machine: Machine) -> bool:
    """Uses all devices, or one: the splits between add nothing to the question whether a model fits."""
    return deployment.device_count in {1, len(machine.devices)}


def other_model(
    model: LanguageModel, machine: Machine, workload: Workload, wishes: Wishes, evaluate: Evaluator
) -> Fix | None:
    """The largest chat model below this one that fits and reads no more weights a token: of its family if there is one."""
    free = replace(wishes, weight_format=None)
    for row in _smaller(model):
        try:
            found = best_of_model(catalog_model(row["id"]), machine, workload, free, evaluate, _FEWEST_BITS)
        except FitserveError:
            continue
        if found is not None and found.fits:
            change: dict[str, str | int] = {
                "model": row["id"],
                "engine": found.deployment.engine,
                "format": found.deployment.weight_format.name,
            }
            return Fix(knob="model", change=change, result=found, instead_of=model.id)
    return None


def _smaller(model: LanguageModel) -> Iterator[Mapping[str, Any]]:
    own = model.params()
    known = rows().get(model.id) or rows().get(model.base_id or "")
    family = known["family"] if known else None
    active = (known["active_params"] if known else None) or own
    chats = [
        row
        for row in rows().values()
        if is_chat(row)
        and row["id"] not in {model.id, model.base_id}
        and row["total_params"]
        and row["total_params"] < own
        and (row["active_params"] or row["total_params"]) <= active
        and _is_current(row, family)
    ]
    chats.sort(key=lambda row: (row["family"] != family, -row["total_params"]))
    # a step of a tenth in size between two tries, so that a few tries reach down to the smallest machines
    tried, last = 0, float("inf")
    for row in chats:
        if tried < _MODELS_TRIED and (row["family"] == family or row["total_params"] <= 0.9 * last):
            tried, last = tried + 1, row["total_params"] if row["family"] != family else last
            yield row


def _is_current(row: Mapping[str, Any], family: str | None) -> bool:
    """Of the same family, or released in the last year and a half of the catalogue."""
    newest = max(other["release_date"] for other in rows().values() if other["release_date"])
    if row["family"] == family:
        return True
    return row["release_date"] is not None and _months(newest) - _months(row["release_date"]) <= _CURRENT_MONTHS


def _months(day: str) -> int:
    year, month = day.split("-")[:2]
    return int(year) * 12 + int(month)
