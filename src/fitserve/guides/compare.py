"""Engines with one model on this hardware, memory against context and users, and how layers are split."""

from dataclasses import replace

from fitserve.engines.contract import Deployment, Engine
from fitserve.engines.registry import engine, engines
from fitserve.foundation.errors import FitserveError
from fitserve.foundation.reasons import Reason, Severity
from fitserve.guides.hardware import choices
from fitserve.guides.judge import Rig, catalogue, format_of, host_usable_bytes, judge, rate_of
from fitserve.guides.tables import memory_bytes
from fitserve.guides.types import Cell, EngineRow, Grid, SplitGuide, SplitPart
from fitserve.models.types import LanguageModel
from fitserve.search.enumerate import candidates
from fitserve.search.evaluate import Evaluated, quality_class
from fitserve.search.speeds import load_of, with_speed
from fitserve.search.wishes import Wishes
from fitserve.workload.types import NO_TARGETS

_SMALL_LOSS = 2
_PLACES_LAYERS = "llama.cpp"
_HALF_BYTES = 2  # hidden states pass between devices in 16 bit


def comparison_item(rig: Rig, most_share: float = 1.0) -> Evaluated | None:
    """The model of the comparison in its format, on the engine that splits by layers; None where nothing fits.

    `most_share`: the file takes at most this share of the memory.
    """
    memory = memory_bytes(rig.machine)
    state = rig.support.get(_PLACES_LAYERS)
    if state is None:
        return None
    on = (engine(_PLACES_LAYERS), str(state.version))
    for name in choices()["comparison"]["names"]:
        model = catalogue(name)
        item = None if model is None else judge(rig, model, on, format_of(choices()["comparison"]["format"]))
        if (
            item is not None
            and item.fits
            and item.budget is not None
            and item.budget.weights_bytes <= most_share * memory
        ):
            return item
    return None


def engine_rows(rig: Rig, model: LanguageModel, blocked: dict[str, Reason | None]) -> tuple[EngineRow, ...]:
    """All engines: the fastest published format at four bits or more; `blocked` says why an engine does not start here."""
    rows = []
    for found in engines():
        state = rig.support.get(found.id)
        if state is None:
            rows.append(EngineRow(engine=found.id, version=found.versions[-1], item=None, reason=blocked.get(found.id)))
            continue
        version = str(state.version)
        best = _best(rig, model, (found, version))
        if best is None or not best.fits:
            reason = None if best is None else _first_blocker(best)
            rows.append(EngineRow(engine=found.id, version=version, item=best, reason=reason))
        else:
            rows.append(EngineRow(engine=found.id, version=version, item=best, crowd=_crowd(rig, best)))
    # fastest first; engines without a speed, then those that do not run
    rows.sort(key=lambda row: (row.item is None or not row.item.fits, 0.0 if row.item is None else -rate_of(row.item)))
    return tuple(rows)


def _best(rig: Rig, model: LanguageModel, on: tuple[Engine, str]) -> Evaluated | None:
    judged: list[Evaluated] = []
    for candidate in candidates(on[0], on[1], model, rig.machine, Wishes(engines=(on,))):
        if quality_class(model, candidate.weight_format) <= _SMALL_LOSS:
            item = judge(rig, model, on, candidate.weight_format)
            judged += [item] if item is not None else []
    fitting = [item for item in judged if item.fits]
    published = [item for item in fitting if not item.needs_quantizing]
    fitting = published or fitting  # what would have to be made first counts where nothing else fits
    if fitting:
        return max(
            fitting,
            key=lambda item: (item.is_accelerated, rate_of(item), -item.deployment.weight_format.effective_bits()),
        )
    return min(judged, key=lambda item: item.deployment.weight_format.effective_bits(), default=None)


def _first_blocker(item: Evaluated) -> Reason | None:
    return next((reason for reason in item.reasons if reason.severity is Severity.BLOCKER), None)


def _crowd(rig: Rig, item: Evaluated) -> Evaluated | None:
    """The same plan with more users at once; None when they do not get room."""
    users = choices()["comparison"]["crowd"]
    more = rig.evaluate(replace(item.deployment, concurrent_requests=users), item.needs_quantizing)
    load = load_of(replace(rig.workload, concurrent_requests=users))
    return with_speed(more, load, NO_TARGETS) if more.fits else None


def grid_of(rig: Rig, item: Evaluated) -> Grid:
    """Context and users against memory."""
    rules, limit = choices()["comparison"], item.deployment.model.max_context_tokens
    contexts = tuple(tokens for tokens in rules["contexts"] if tokens <= limit)
    users = tuple(rules["users"])
    cells = tuple(_cell(rig, item, tokens, count) for tokens in contexts for count in users)
    budget = item.budget
    usable = 0
    if budget is not None:
        used = budget.devices[: item.deployment.device_count] or budget.devices
        usable = sum(device.usable_bytes for device in used) or host_usable_bytes(rig.machine)
    return Grid(item=item, contexts=contexts, users=users, cells=cells, limit_bytes=usable)


def _cell(rig: Rig, item: Evaluated, tokens: int, users: int) -> Cell:
    deployment: Deployment = replace(item.deployment, context_tokens=tokens, concurrent_requests=users)
    judged = rig.evaluate(deployment, item.needs_quantizing)
    budget = judged.budget
    if budget is None:
        return Cell(context_tokens=tokens, users=users, kv_bytes=0, total_bytes=0, fits=False)
    parts = [part for device in budget.devices for part in device.items] or list(budget.host_items)
    kv = sum(part.likely_bytes for part in parts if part.code in {"kv_cache", "recurrent_state"})
    return Cell(
        context_tokens=tokens, users=users, kv_bytes=kv, total_bytes=sum(part.likely_bytes for part in parts),
        fits=judged.fits and not judged.has("requests_queue"),
    )  # fmt: skip


def split_guide(rig: Rig, item: Evaluated) -> SplitGuide | None:
    """How the comparison model is cut over all devices; None for a single device."""
    count = len(rig.machine.devices)
    if count < 2:
        return None
    whole = rig.evaluate(replace(item.deployment, tp=1, pp=count), item.needs_quantizing)
    budget = whole.budget
    layers = {} if budget is None else dict(budget.details.get("layers", {}))
    if budget is None or not layers:
        return None
    parts = tuple(
        SplitPart(
            device=device.device, gpu=device.accelerator.id, first_layer=min(layers[device.device]),
            last_layer=max(layers[device.device]), weights_bytes=device.item("weights"), used_bytes=device.used_bytes,
        )
        for device in budget.devices
        if layers.get(device.device)
    )  # fmt: skip
    # the output is a layer of its own, on the last device
    text = ",".join(str(part.last_layer - part.first_layer + 1 + (part is parts[-1])) for part in parts)
    return SplitGuide(
        item=whole, parts=parts, tensor_split=text,
        device_map=tuple((f"model.layers.{i}", p.device) for p in parts for i in range(p.first_layer, p.last_layer + 1)),
        tp=tuple(_tensor_sizes(rig, item.deployment.model)),
        hop_bytes=item.deployment.model.hidden_size * _HALF_BYTES,
    )  # fmt: skip


def _tensor_sizes(rig: Rig, model: LanguageModel) -> list[tuple[int, Reason | None]]:
    """Sizes from 2 to all devices, with the reason of the batching engine that refuses one."""
    state = rig.support.get("vllm")
    if state is None:
        return []
    chosen, found = engine("vllm"), []
    for size in range(2, len(rig.machine.devices) + 1):
        probe = Deployment(
            model=model, machine=rig.machine, engine=chosen.id, engine_version=str(state.version),
            weight_format=format_of("bf16"), tp=size, context_tokens=min(4096, model.max_context_tokens),
        )  # fmt: skip
        try:
            reasons = [reason for reason in chosen.blockers(probe) if reason.severity is Severity.BLOCKER]
        except FitserveError:
            continue
        found.append((size, reasons[0] if reasons else None))
    return found
