"""From a request to what the search takes. All problems of a request are reported at once."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TypeVar

from fitserve.engines.contract import Engine
from fitserve.engines.registry import ENTRIES, engine, tried
from fitserve.foundation.errors import InputError, Problem
from fitserve.foundation.reasons import Reason, note
from fitserve.hardware.types import Machine
from fitserve.models.formats import WeightFormat, parse_format
from fitserve.models.types import LanguageModel
from fitserve.plan.machine import machine_of
from fitserve.plan.money import rate_of
from fitserve.plan.request import HardwareRequest, PlanRequest
from fitserve.plan.world import ModelRead, World
from fitserve.predict.prices import Rate
from fitserve.search.wishes import Wishes
from fitserve.workload.presets import preset
from fitserve.workload.types import Targets, Workload

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """Machine, workload and wishes of a request, with what was assumed."""

    machine: Machine
    workload: Workload
    wishes: Wishes
    notes: tuple[Reason, ...]
    rate: Rate


class _Problems:
    """Collects the problems of several steps."""

    def __init__(self) -> None:
        self.found: list[Problem] = []

    def attempt(self, step: Callable[[], T]) -> T | None:
        try:
            return step()
        except InputError as error:
            self.found += error.problems
            return None

    def stop(self) -> None:
        if self.found:
            raise InputError(*self.found)


def resolve_plan(request: PlanRequest, world: World) -> tuple[ModelRead, Resolved]:
    """Everything of a request about one model. Raises InputError with all problems; FactMissing for an unknown model kind."""
    problems = _Problems()
    read = problems.attempt(lambda: world.read_model(request.model))
    weight_format = problems.attempt(lambda: _weight_format(request, read))
    rest = problems.attempt(lambda: resolve_hardware(request, world, read.model if read else None))
    if rest is not None:
        problems.attempt(lambda: _check_devices(request, rest.machine))
    problems.stop()
    assert read is not None and rest is not None
    wishes = replace(
        rest.wishes,
        weight_format=weight_format,
        repository=read.repository,
        tp=request.tp,
        pp=request.pp,
        ep=request.ep,
        dp=request.dp,
        max_num_seqs=request.max_num_seqs,
    )
    return read, replace(rest, wishes=wishes, notes=(*read.notes, *rest.notes))


def resolve_hardware(request: HardwareRequest, world: World, model: LanguageModel | None = None) -> Resolved:
    """Machine, workload and engines of a request."""
    problems = _Problems()
    found = problems.attempt(lambda: machine_of(request, world))
    work = problems.attempt(lambda: _workload(request, model))
    options = problems.attempt(lambda: _options(request))
    rate = problems.attempt(lambda: rate_of(request.currency, request.exchange_rate))
    weight_format = problems.attempt(lambda: parse_format(request.format) if request.format else None)
    vendors = {device.vendor for device in found[0].devices} if found is not None else set()
    engines = problems.attempt(lambda: _engines(request, vendors, weight_format.family if weight_format else None))
    problems.stop()
    assert found is not None and engines is not None and work is not None and options is not None and rate is not None
    wishes = Wishes(
        engines=engines,
        weight_format=weight_format,
        kv_format=request.kv_format,
        offload=request.offload,
        options=MappingProxyType(options),
        targets=Targets(ttft_s=request.ttft, inter_token_s=request.inter_token, min_tok_per_s=request.min_tok_per_s),
    )
    newer = [
        note("version_newer", engine=item.id, version=version, newest=item.versions[-1])
        for item, version in engines
        if item.is_newer(version)
    ]
    others = () if request.engine else (_other_engines(engines),)
    return Resolved(
        machine=found[0], workload=work[0], wishes=wishes, notes=(*found[1], *work[1], *newer, *others), rate=rate
    )


def _other_engines(taken: tuple[tuple[Engine, str], ...]) -> Reason:
    """Which engines were tried, and which only when they are asked for."""
    names = {item.id for item, _ in taken}
    others = tuple(candidate.id for candidate in ENTRIES if candidate.id not in names)
    return note("engines_tried", tried=tuple(item.id for item, _ in taken), others=others)


def _weight_format(request: PlanRequest, read: ModelRead | None) -> WeightFormat | None:
    """The format asked for, else the one that the name or the file fixes."""
    if read is None:
        return None
    checkpoint = read.model.checkpoint
    fixed = (
        checkpoint.weight_format
        if checkpoint is not None and (read.model.base_id is not None or read.is_file)
        else None
    )
    if request.format is None:
        return parse_format(read.weight_format) if read.weight_format else None
    try:
        asked = parse_format(request.format)
    except InputError:
        return None  # resolve_hardware reports it
    if fixed is not None and asked.name != fixed:
        raise InputError.of(
            "format_fixed_by_repository",
            model=read.model.id,
            has=fixed,
            given=asked.name,
            base=read.model.base_id or "-",
        )
    return asked


def _engines(request: HardwareRequest, vendors: Collection[str], family: str | None) -> tuple[tuple[Engine, str], ...]:
    if not request.engine:
        if request.engine_version is not None:
            raise InputError.of("version_without_engine", given=request.engine_version)
        return tuple((item, item.versions[-1]) for item in tried(vendors, family))
    if request.engine_version is not None and len(request.engine) > 1:
        raise InputError.of("version_without_engine", given=request.engine_version)
    chosen = []
    for text in request.engine:
        name, _, version = text.partition("==")
        found = engine(name.strip())
        wanted = version.strip() or request.engine_version
        chosen.append((found, found.parse_version(wanted) if wanted else found.versions[-1]))
    return tuple(chosen)


def _workload(request: HardwareRequest, model: LanguageModel | None) -> tuple[Workload, tuple[Reason, ...]]:
    usual = preset(request.use)
    if request.rate is not None and request.concurrency is not None:
        raise InputError.of("flags_exclusive", flags=("--concurrency", "--rate"))
    parts = [count for count in (request.prompt_tokens, request.output_tokens) if count is not None]
    context = request.context or (sum(parts) if len(parts) == 2 else None)
    notes: tuple[Reason, ...] = ()
    limit = model.max_context_tokens if model is not None else None
    if sum(parts) > (context or sum(parts)):
        raise InputError.of("tokens_beyond_context", total_tokens=sum(parts), context_tokens=context or 0)
    if context is None:
        context = max(sum(parts), min(usual.context_tokens, limit or usual.context_tokens))
        notes = (note("context_assumed", context_tokens=context, use=request.use),)
    if limit is not None and context > limit:
        raise InputError.of(
            "context_beyond_model", context_tokens=context, limit_tokens=limit, model=model.id if model else "-"
        )
    work = Workload(
        context_tokens=context, concurrent_requests=request.concurrency or usual.concurrent_requests,
        prompt_tokens=request.prompt_tokens, output_tokens=request.output_tokens, rate_per_s=request.rate, use=request.use,
        draft_acceptance=request.acceptance,
    )  # fmt: skip
    return work, notes


def _options(request: HardwareRequest) -> dict[str, str]:
    options: dict[str, str] = {}
    for text in request.set:
        name, equals, value = text.partition("=")
        name = name.strip().lstrip("-").replace("_", "-")
        if not name or not equals:
            raise InputError.of("option_text_wrong", given=text)
        options[name] = value
    return options


def _check_devices(request: PlanRequest, machine: Machine) -> None:
    wanted = (request.tp or 1) * (request.pp or 1) * (request.dp or 1)
    have = max(1, len(machine.devices))
    if wanted > have:
        raise InputError.of("more_ranks_than_gpus", wanted=wanted, have=have)
