"""From the fields of a question to requests and judged plans; every number of an answer comes from here."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from fitserve.ask.memory_words import card_of_memory
from fitserve.ask.types import Named, Understood
from fitserve.engines.registry import engine
from fitserve.foundation.errors import FitserveError, InputError
from fitserve.foundation.reasons import Reason, Severity, Verdict, note, verdict_of
from fitserve.foundation.units import GIB
from fitserve.models.catalog.lookup import rows
from fitserve.models.formats import WeightFormat
from fitserve.plan.answer import Answer, plan
from fitserve.plan.request import PlanRequest
from fitserve.plan.world import World
from fitserve.search.evaluate import Evaluated, quality_class

SEVERE = 4
"""The class of formats that lose so much that a smaller model is better."""
_GENERIC = {"gguf": "gguf", "exl2": "exl2", "exl3": "exl3"}
_ENGINE_OF = {"gguf": ("llama.cpp",), "exl2": ("exllamav2",), "exl3": ("exllamav3",)}
_ROOM_BITS = 0.9
_SHORT = 4096
"""A context that still holds a conversation."""
Gpus = tuple[Named, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """A question with the machine that it is answered for."""

    asked: Understood
    world: World
    gpus: Gpus
    assumed: tuple[Reason, ...]

    @property
    def use(self) -> str:
        """The purpose; chat where none was said."""
        return self.asked.use or "chat"

    @property
    def model(self) -> str:
        """The first model named."""
        return self.asked.models[0]


def ground_of(asked: Understood, world: World) -> Ground:
    """The machine: as named, or the card that a stated amount of memory stands for, or this machine."""
    gpus, assumed = asked.gpus, list(asked.assumed)
    if not gpus and asked.memory_bytes is not None:
        gpu, count = card_of_memory(asked.memory_bytes, asked.memory_cards)
        gpus = (Named(gpu=gpu, count=count),)
        assumed.append(note("ask_card_assumed", memory_bytes=asked.memory_bytes, gpus=f"{count} x {gpu}"))
    elif not gpus and asked.ram_bytes is not None:
        gpus = (Named(gpu="none"),)
        assumed.append(note("ask_cpu_assumed"))
    elif not gpus and asked.this_machine:
        assumed.append(note("ask_this_machine"))
    return Ground(asked=asked, world=world, gpus=gpus, assumed=tuple(assumed))


def fields_of(ground: Ground, gpus: Gpus | None = None, **over: Any) -> dict[str, Any]:
    """Fields of a request: what was said, over which `over` wins."""
    asked = ground.asked
    machine = ground.gpus if gpus is None else gpus
    ram = asked.ram_bytes or max((item.memory_bytes or 0 for item in machine), default=0) or None
    fields: dict[str, Any] = {
        "gpu": tuple("none" if item.gpu == "none" else f"{item.gpu}:{item.count}" for item in machine),
        "ram": None if ram is None else f"{ram // GIB}GiB",
        "os": asked.os if not asked.are_alternatives else None,
        "engine": _engines(asked),
        "engine_version": asked.engine_version if len(asked.engines) == 1 else None,
        "format": exact_format(asked.formats),
        "kv_format": asked.kv_format,
        "context": asked.context_tokens,
        "concurrency": asked.concurrency,
        "min_tok_per_s": asked.min_tok_per_s,
        "use": ground.use,
    }
    return fields | over


def _engines(asked: Understood) -> tuple[str, ...]:
    if asked.engines:
        return asked.engines if len(asked.engines) == 1 else ()
    generic = next((name for name in asked.formats if name in _ENGINE_OF), None)
    return _ENGINE_OF[generic] if generic and len(asked.formats) == 1 else ()


def exact_format(formats: Sequence[str]) -> str | None:
    """The one format that was named, where it is a single one and not a width or a family."""
    return formats[0] if len(formats) == 1 and not is_generic(formats[0]) else None


def is_generic(name: str) -> bool:
    """`4bit` and `gguf` stand for several formats."""
    return name in _GENERIC or (name.endswith("bit") and name[:-3].isdecimal())


def matches(weight_format: WeightFormat, name: str) -> bool:
    """Whether a format is one of those that a generic name stands for."""
    if name in _GENERIC:
        return weight_format.family == _GENERIC[name]
    return abs(weight_format.effective_bits() - int(name[:-3])) < _ROOM_BITS


def planned(ground: Ground, gpus: Gpus | None = None, **over: Any) -> tuple[Answer, tuple[Reason, ...]]:
    """Plans for a question, narrowed to the formats it names, and what had to be changed about it.

    A context that nobody asked for is shortened before the answer is a no.
    """
    answer, notes = _planned(ground, gpus, **over)
    if ground.asked.context_tokens is not None or "context" in over or sensible(answer.plans):
        return answer, notes
    if not any(fix.knob == "context" and not is_severe(fix.result) for item in answer.rejected for fix in item.fixes):
        return answer, notes
    shorter, more = _planned(ground, gpus, **over, context=_SHORT)
    if not sensible(shorter.plans):
        return answer, notes
    return shorter, (*notes, *more, note("ask_context_short", context_tokens=_SHORT))


def _planned(ground: Ground, gpus: Gpus | None = None, **over: Any) -> tuple[Answer, tuple[Reason, ...]]:
    notes: list[Reason] = []
    fields = fields_of(ground, gpus, **({"model": ground.model} if ground.asked.models else {}) | over)
    request = PlanRequest.read(**fields)
    try:
        answer = plan(request, ground.world)
    except InputError as error:
        fields, notes = _mended(fields, error)
        answer = plan(PlanRequest.read(**fields), ground.world)
    generic = [name for name in ground.asked.formats if is_generic(name)] if "format" not in over else []
    if len(generic) == 1 and not (set(ground.asked.formats) - set(generic)):
        answer = replace(
            answer,
            plans=tuple(item for item in answer.plans if matches(item.deployment.weight_format, generic[0])),
            rejected=tuple(item for item in answer.rejected if matches(item.deployment.weight_format, generic[0])),
        )
    return answer, tuple(notes)


def _mended(fields: dict[str, Any], error: InputError) -> tuple[dict[str, Any], list[Reason]]:
    """The request without what cannot be; raises what cannot be mended."""
    changed, notes = dict(fields), []
    for problem in error.problems:
        given = dict(problem.parameters)
        if problem.code == "context_beyond_model":
            changed["context"] = given["limit_tokens"]
            notes.append(
                note(
                    "ask_context_cut",
                    model=given["model"],
                    context_tokens=given["context_tokens"],
                    limit_tokens=given["limit_tokens"],
                )
            )
        elif problem.code in {"unknown_version", "version_without_engine"}:
            changed["engine_version"] = None
            notes.append(note("ask_version_unknown", given=str(fields.get("engine_version"))))
        elif problem.code == "format_fixed_by_repository":
            changed["model"], changed["format"] = (
                (given["base"], fields["format"]) if given["base"] != "-" else (fields["model"], None)
            )
        else:
            raise error
    return changed, notes


def best(answer: Answer) -> Evaluated | None:
    """The first plan."""
    return answer.plans[0] if answer.plans else None


def is_severe(item: Evaluated) -> bool:
    """Whether a plan's format loses so much that it is no sensible answer."""
    return quality_class(item.deployment.model, item.deployment.weight_format) >= SEVERE


def sensible(items: Iterable[Evaluated]) -> tuple[Evaluated, ...]:
    """Plans in formats that are worth running."""
    return tuple(item for item in items if not is_severe(item) and not item.deployment.offload_layers)


def one_per_format(items: Iterable[Evaluated], most: int = 6) -> tuple[Evaluated, ...]:
    """The best plan of each engine and format."""
    seen: dict[tuple[str, str, str], Evaluated] = {}
    for item in items:
        d = item.deployment
        seen.setdefault((d.model.id, d.engine, d.weight_format.name), item)
    return tuple(seen.values())[:most]


def room_tokens(item: Evaluated) -> int:
    """Tokens that fit beyond those asked for, from what is free."""
    budget = item.budget
    if budget is None or not budget.kv.bytes_per_token:
        return 0
    if any(part.is_rest for device in budget.devices for part in device.items):
        return max(0, budget.kv.capacity_tokens - item.deployment.context_tokens * item.deployment.concurrent_requests)
    free = sum(max(0, device.usable_bytes - device.used_bytes) for device in budget.devices)
    return int(free // budget.kv.bytes_per_token)


def used_bytes(item: Evaluated) -> int:
    """What a plan takes on its devices; in RAM on a machine without."""
    budget = item.budget
    if budget is None:
        return 0
    return sum(device.used_bytes for device in budget.devices) or budget.host_bytes


def needed_bytes(item: Evaluated) -> int:
    """Weights, cache of the context, and the rest, without what an engine takes because it is there."""
    budget = item.budget
    if budget is None:
        return 0
    fixed = sum(part.likely_bytes for device in budget.devices for part in device.items if not part.is_rest)
    kv = sum(budget.kv.bytes_at_context for device in budget.devices if any(part.is_rest for part in device.items))
    return (fixed + min(kv, budget.kv.bytes_at_context)) or budget.host_bytes


def capacity_bytes(item: Evaluated) -> int:
    """Memory of the devices of a plan that its engine may use."""
    budget = item.budget
    return 0 if budget is None else sum(device.usable_bytes for device in budget.devices)


def gpus_text(item: Evaluated) -> str:
    """`2 x rtx-3090`, `CPU`."""
    machine = item.deployment.machine
    return " + ".join(f"{count} x {gpu}" for gpu, count in machine.counts) or "CPU"


def first_version(item: Evaluated) -> str | None:
    """The oldest release that was read and that runs the deployment; None where the oldest does or none is told apart."""
    chosen = engine(item.deployment.engine)
    fitting = [version for version in chosen.versions if _runs(chosen.blockers, item, version)]
    return fitting[0] if fitting and fitting[0] != chosen.versions[0] else None


def _runs(blockers: Callable[..., tuple[Reason, ...]], item: Evaluated, version: str) -> bool:
    try:
        return verdict_of(blockers(replace(item.deployment, engine_version=version))) is not Verdict.NOT_SUPPORTED
    except FitserveError:
        return False


def flags(ground: Ground, model: str | None, gpus: Gpus | None = None, **more: Any) -> str:
    """Flags of a command line that asks the same."""
    machine = ground.gpus if gpus is None else gpus
    parts = [] if model is None else [model]
    parts += [f"--gpu {item.gpu}" + (f":{item.count}" if item.count > 1 else "") for item in machine]
    ram = ground.asked.ram_bytes or max((item.memory_bytes or 0 for item in machine), default=0)
    parts += [f"--ram {ram // GIB}GiB"] if ram else []
    parts += [f"--{name.replace('_', '-')} {value}" for name, value in more.items() if value is not None]
    return " ".join(parts)


def lacking(item: Evaluated) -> Reason | None:
    """The reason that weighs most against a candidate."""
    order = sorted(
        item.reasons,
        key=lambda reason: (reason.severity is not Severity.BLOCKER, reason.verdict is not Verdict.NOT_SUPPORTED),
    )
    return order[0] if order and order[0].severity is Severity.BLOCKER else None


@lru_cache(maxsize=64)
def billions(model_id: str) -> float:
    """Parameters of a catalogue model in billions; 0 where it has no row."""
    row = rows().get(model_id)
    return 0.0 if row is None or not row["total_params"] else float(row["total_params"]) / 1e9
