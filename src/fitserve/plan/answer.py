"""The use case itself: plan, estimate, fit."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from fitserve.engines.contract import Deployment, Engine, LaunchCommand
from fitserve.engines.registry import engine
from fitserve.foundation.errors import FactMissing, FitserveError, InputError
from fitserve.foundation.reasons import Reason, Verdict, note, unknown, verdict_of
from fitserve.models.architectures.registry import UnknownArchitecture
from fitserve.models.catalog.lookup import catalog_model, rows
from fitserve.models.types import LanguageModel
from fitserve.plan.request import EstimateRequest, FitRequest, PlanRequest, Request
from fitserve.plan.resolve import Resolved, resolve_hardware, resolve_plan
from fitserve.plan.world import ModelRead, World
from fitserve.search.alternatives import best_of_model, is_chat
from fitserve.search.enumerate import candidates, deployments, with_least_offload
from fitserve.search.evaluate import Evaluated, Evaluator, quality_class
from fitserve.search.find import find
from fitserve.search.fixes import nearest_fixes


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Plans and rejected candidates. `unreadable` is set when the model is known but its kind is not."""

    request: Request
    plans: tuple[Evaluated, ...] = ()
    rejected: tuple[Evaluated, ...] = ()
    notes: tuple[Reason, ...] = ()
    unreadable: Reason | None = None

    @property
    def is_yes(self) -> bool:
        """Whether anything fits."""
        return bool(self.plans)


def plan(request: PlanRequest, world: World) -> Answer:
    """Ranked plans for a model on a machine, and why everything else was rejected."""
    try:
        read, resolved = resolve_plan(request, world)
    except FactMissing as missing:
        return Answer(request=request, unreadable=_missing(missing))
    found = find(read.model, resolved.machine, resolved.workload, resolved.wishes)
    return Answer(request=request, plans=found.plans, rejected=found.rejected, notes=resolved.notes)


def _missing(missing: FactMissing) -> Reason:
    if isinstance(missing, UnknownArchitecture):
        return unknown("architecture_unknown", architecture=missing.architecture, where=missing.where)
    return unknown("fact_missing", fact=missing.fact, where=missing.where)


def estimate(request: EstimateRequest, world: World) -> Answer:
    """One fully fixed deployment, judged; what was not given takes the first choice of the engine, and a note says so."""
    try:
        read, resolved = resolve_plan(request, world)
    except FactMissing as missing:
        return Answer(request=request, unreadable=_missing(missing))
    evaluate = Evaluator()
    deployment, needs_quantizing, notes = _fixed(read, resolved)
    judged = evaluate(deployment, needs_quantizing)
    if resolved.wishes.offload == "auto" and judged.is_memory_only:
        judged = with_least_offload(engine(deployment.engine), deployment, evaluate) or judged
    if not judged.fits:
        chosen = engine(deployment.engine)
        siblings = list(
            candidates(
                chosen,
                deployment.engine_version,
                read.model,
                resolved.machine,
                replace(resolved.wishes, weight_format=None),
            )
        )
        judged = replace(judged, fixes=nearest_fixes(judged, siblings, evaluate))
        return Answer(request=request, rejected=(judged,), notes=(*resolved.notes, *notes))
    return Answer(request=request, plans=(judged,), notes=(*resolved.notes, *notes))


def _fixed(read: ModelRead, resolved: Resolved) -> tuple[Deployment, bool, list[Reason]]:
    """The deployment of the defaults: first engine for the format and machine, its first format, all devices."""
    wishes, notes = resolved.wishes, []
    chosen, version = wishes.engines[0]
    if len(wishes.engines) > 1:
        chosen, version = next(
            ((e, v) for e, v in wishes.engines if _suits(e, v, read.model, resolved)), wishes.engines[0]
        )
        notes.append(note("engine_assumed", engine=chosen.id, version=version))
    listed = list(deployments(chosen, version, read.model, resolved.machine, resolved.workload, wishes))
    if not listed:
        raise InputError.of("nothing_to_estimate", model=read.model.id, engine=chosen.id)
    first = listed[0][0].weight_format
    if wishes.weight_format is None:
        notes.append(note("format_assumed", format=first.name))
    same = [(d, made) for d, made in listed if d.weight_format.name == first.name]
    widest = max(same, key=lambda pair: (pair[0].device_count, pair[0].tp))
    return widest[0], widest[1], notes


def _suits(chosen: Engine, version: str, model: LanguageModel, resolved: Resolved) -> bool:
    """Whether an engine has a supported candidate for the machine and the format of the request."""
    listed = deployments(chosen, version, model, resolved.machine, resolved.workload, resolved.wishes)
    return any(verdict_of(chosen.blockers(deployment)) is Verdict.FITS for deployment, _ in listed)


def fit(request: FitRequest, world: World) -> Answer:
    """Every chat model of the catalogue on this machine: its best format, or why it does not fit."""
    resolved = resolve_hardware(request, world)
    evaluate = Evaluator()
    plans: list[Evaluated] = []
    rejected: list[Evaluated] = []
    for model_id in _wanted(request.family):
        try:
            best = best_of_model(
                catalog_model(model_id), resolved.machine, resolved.workload, resolved.wishes, evaluate
            )
        except FitserveError:
            continue
        if best is not None:
            (plans if best.fits else rejected).append(best)
        evaluate.known.clear()  # nothing is judged twice across models
    plans.sort(key=_fit_key)
    limit = request.limit or len(plans)
    return Answer(request=request, plans=tuple(plans[:limit]), rejected=tuple(rejected), notes=resolved.notes)


def _wanted(family: str | None) -> Iterable[str]:
    chats = [row for row in rows().values() if is_chat(row)]
    if family is None:
        return [row["id"] for row in chats]
    wanted = [row["id"] for row in chats if family.lower() in row["family"].lower()]
    if not wanted:
        raise InputError.of("unknown_family", given=family, known=tuple(sorted({row["family"] for row in chats})))
    return wanted


def _fit_key(item: Evaluated) -> tuple[float, ...]:
    """Formats that lose little first, then the largest model."""
    model = item.deployment.model
    return (float(max(2, quality_class(model, item.deployment.weight_format))), -float(model.params("text")))


def launch_command(item: Evaluated) -> LaunchCommand | None:
    """The command of a candidate that is supported; None when it could not start."""
    if not item.fits:
        return None
    return engine(item.deployment.engine).command(item.deployment)
