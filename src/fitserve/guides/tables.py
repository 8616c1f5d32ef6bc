"""What fits: a row a model and format, on one device and on all of them, and how large a model each format allows."""

from collections.abc import Iterator
from dataclasses import replace

from fitserve.engines.contract import Engine
from fitserve.engines.registry import engine
from fitserve.foundation.errors import FitserveError
from fitserve.guides.hardware import choices
from fitserve.guides.judge import Rig, catalogue, file_bytes, format_of, host_usable_bytes, judge
from fitserve.guides.types import FitRow, FitTable, SizeLimit
from fitserve.hardware.types import Machine
from fitserve.models.types import LanguageModel
from fitserve.search.evaluate import Evaluated, quality_class

_Q8_BYTES, _Q2_BYTES = 1.0625, 0.35  # bytes per weight of Q8_0, and of the smallest file shown
_SMALL_LOSS = 2
_REFERENCE = "meta-llama/Llama-3.1-70B-Instruct"
_CLOSE_MISSES = 2
_NEAR_MISS = 1.5
_LIMIT_FORMATS = ("gguf:Q8_0", "gguf:Q6_K", "gguf:Q5_K_M", "gguf:Q4_K_M", "gguf:Q3_K_M", "gguf:Q2_K")


def machine_parts(machine: Machine) -> tuple[Machine, ...]:
    """One of each kind of device, then all of them; a machine with one device is its own only part."""
    kinds = {device.id: device for device in machine.devices}
    if len(machine.devices) < 2:
        return (machine,)
    return (*(replace(machine, devices=(device,)) for device in kinds.values()), machine)


def fit_table(rig: Rig, also: tuple[str, ...] = ()) -> FitTable:
    """The rows of one part of the machine; `also` are models that stand elsewhere in the guide."""
    rows: list[FitRow] = []
    for model in _models(rig.machine, also):
        rows += _of_model(rig, model)
    return FitTable(machine=rig.machine, rows=tuple(rows), limits=tuple(_limits(rig)))


def memory_bytes(machine: Machine) -> int:
    """Memory for a model: of all devices, else of the host."""
    return sum(device.memory_bytes for device in machine.devices) or (machine.host.ram_bytes or 0)


def _models(machine: Machine, also: tuple[str, ...]) -> list[LanguageModel]:
    bounds, memory = choices()["models"], memory_bytes(machine)
    names = dict.fromkeys((*bounds["names"], *also))
    found = [model for name in names if (model := catalogue(name)) is not None]
    kept = [
        model
        for model in found
        if _Q8_BYTES * model.params("text") >= bounds["least_share_q8"] * memory
        and _Q2_BYTES * model.params("text") <= bounds["most_share_q2"] * memory
    ]
    return sorted(kept, key=lambda model: (model.params("text"), model.id))


def _of_model(rig: Rig, model: LanguageModel) -> list[FitRow]:
    """Formats from the widest down, engine by engine: the nearest misses, then what fits."""
    rows: list[FitRow] = []
    by_engine: dict[str, list[Evaluated]] = {}
    for chosen, version, name in rig.formats():
        item = _offered(rig, model, (chosen, version), name)
        if item is not None:
            by_engine.setdefault(chosen.id, []).append(item)
    for items in by_engine.values():
        fitting = [item for item in items if item.fits]
        good = [i for i in fitting if quality_class(model, i.deployment.weight_format) <= _SMALL_LOSS]
        shown = fitting if len(good) < _CLOSE_MISSES else good
        missed = [row for item in items if item.is_memory_only and _is_near(row := fit_row(item), rig.machine)]
        rows += [*missed[-_CLOSE_MISSES:], *(fit_row(item) for item in shown)]
    return rows


def _is_near(row: FitRow, machine: Machine) -> bool:
    """A file not much larger than the memory: what is far beyond it needs no row."""
    return row.file_bytes is None or row.file_bytes <= _NEAR_MISS * memory_bytes(machine)


def _offered(rig: Rig, model: LanguageModel, on: tuple[Engine, str], name: str) -> Evaluated | None:
    wanted = format_of(name)
    try:
        offered = on[0].candidates(model, rig.machine, on[1])
    except FitserveError:
        return None
    exact = [item for item in offered if item.weight_format.name == wanted.name and not item.needs_quantizing]
    # any width of these two can be made, and most are published under names that the catalogue does not list
    if not exact and not (wanted.family in {"exl2", "exl3", "mlx"} and offered and model.checkpoint is None):
        return None
    return judge(rig, model, on, wanted, uses_all=True)


def fit_row(item: Evaluated) -> FitRow:
    """A judged candidate as a row."""
    budget, deployment = item.budget, item.deployment
    lack = None
    if not item.fits and budget is not None:
        lacks = [device.used_bytes - device.usable_bytes for device in budget.devices]
        lack = sum(missing for missing in lacks if missing > 0) or None
        if lack is None:
            lack = _lack_of_reasons(item)
    return FitRow(
        item=item,
        file_bytes=file_bytes(deployment.model, deployment.weight_format),
        lack_bytes=lack,
        context_tokens=budget.kv.max_context_tokens if item.fits and budget is not None else None,
    )


def _lack_of_reasons(item: Evaluated) -> int | None:
    for reason in item.reasons:
        need, have = reason.parameters.get("need_bytes"), reason.parameters.get("have_bytes")
        if isinstance(need, int) and isinstance(have, int) and need > have:
            return need - have
    return None


def _limits(rig: Rig) -> Iterator[SizeLimit]:
    """Weights that fit beside the rest, by the bits per weight that a 70B model has in each format.

    The rest (cache of one request, buffers, runtime) is that of the reference model: larger models have more layers,
    so the limit is a little too high for them and a little too low for smaller ones.
    """
    state = rig.support.get("llama.cpp")
    model = catalogue(_REFERENCE)
    if state is None or model is None:
        return
    for name in _LIMIT_FORMATS:
        wanted = format_of(name)
        item = judge(rig, model, (engine("llama.cpp"), str(state.version)), wanted)
        size = file_bytes(model, wanted)
        if item is None or item.budget is None or size is None:
            continue
        usable = sum(device.usable_bytes for device in item.budget.devices) or host_usable_bytes(rig.machine)
        items = [i for d in item.budget.devices for i in d.items] or list(item.budget.host_items)
        rest = sum(i.likely_bytes for i in items if i.code != "weights" and not i.is_rest)
        bits = size * 8 / model.params("text")
        yield SizeLimit(
            format=name, bits_per_weight=bits, usable_bytes=usable, other_bytes=rest, params=max(0, usable - rest) * 8 / bits
        )  # fmt: skip
