"""The use case itself: plan, estimate, fit."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial

from fitserve.engines.contract import Deployment, Engine, LaunchCommand
from fitserve.engines.registry import engine
from fitserve.foundation.errors import FactMissing, FitserveError, InputError
from fitserve.foundation.reasons import Reason, Verdict, note, unknown, verdict_of
from fitserve.models.architectures.registry import UnknownArchitecture
from fitserve.models.catalog.lookup import catalog_model, rows
from fitserve.models.types import LanguageModel
from fitserve.plan.here import with_corrections
from fitserve.plan.request import EstimateRequest, FitRequest, PlanRequest, Request
from fitserve.plan.resolve import Resolved, resolve_hardware, resolve_plan
from fitserve.plan.world import ModelRead, World
from fitserve.predict.cost import PlanCost, plan_cost
from fitserve.predict.model_quality import known_purposes, place
from fitserve.predict.prices import DOLLAR, Rate, priced_gpus
from fitserve.predict.quality_reasons import quality_reasons
from fitserve.predict.types import Load, Speed
from fitserve.search.alternatives import best_of_model, is_chat
from fitserve.search.enumerate import candidates, deployments, with_least_offload
from fitserve.search.evaluate import Evaluated, Evaluator, quality_class
from fitserve.search.find import find
from fitserve.search.fixes import nearest_fixes
from fitserve.search.front import pareto_front
from fitserve.search.outlook import Outlook, outlook
from fitserve.search.speeds import load_of, with_speed, with_speeds_of_fixes
from fitserve.search.users import load_curve, users_within
from fitserve.search.variants import variants_of
from fitserve.search.wishes import Wishes
from fitserve.workload.types import NO_TARGETS, Targets, Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Plans and rejected candidates. `unreadable` is set when the model is known but its kind is not."""

    request: Request
    plans: tuple[Evaluated, ...] = ()
    rejected: tuple[Evaluated, ...] = ()
    notes: tuple[Reason, ...] = ()
    unreadable: Reason | None = None
    rate: Rate = DOLLAR
    not_shown: int = 0
    """Plans beyond the limit of the request."""
    outlook: tuple[Outlook, ...] = ()
    """Of an estimate: what more hardware would change."""
    load_curve: tuple[tuple[int, Speed], ...] = ()
    """Of an estimate: what users get as they become more."""
    load: Load | None = None
    """The requests that the speeds are for."""
    targets: Targets = NO_TARGETS

    @property
    def use(self) -> str:
        """The purpose that was asked for."""
        return str(getattr(self.request, "use", "chat"))

    @property
    def timed_rejected(self) -> tuple[Evaluated, ...]:
        """Rejected candidates whose fixes say how fast they would be: only some forms of an answer show that."""
        load = self.load
        return (
            self.rejected
            if load is None
            else tuple(with_speeds_of_fixes(item, load, self.targets) for item in self.rejected)
        )

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
    notes = (*resolved.notes, _load_note(resolved.workload, read.model)) if found.plans else resolved.notes
    load, targets = load_of(resolved.workload), resolved.wishes.targets
    plans = tuple(
        replace(
            _with_quality(item, request.use),
            is_on_front=is_on_front,
            users_within_targets=users_within(item, load, targets),
        )
        for item, is_on_front in zip(found.plans, pareto_front(found.plans), strict=True)
    )
    plans = _with_variants(plans, load, resolved.wishes, request.use)
    plans = tuple(with_corrections(item, request, world) for item in plans)
    return Answer(
        request=request, plans=plans, rejected=found.rejected, notes=notes, rate=resolved.rate, load=load, targets=targets
    )  # fmt: skip


def _with_variants(plans: tuple[Evaluated, ...], load: Load, wishes: Wishes, use: str) -> tuple[Evaluated, ...]:
    """The best plan of each engine with its other settings that win somewhere."""
    evaluate, seen, found = Evaluator(), set[str](), []
    for item in plans:
        if item.deployment.engine not in seen:
            seen.add(item.deployment.engine)
            made = variants_of(item, load, wishes, evaluate)
            item = replace(item, variants=tuple(replace(fix, result=_with_quality(fix.result, use)) for fix in made))
        found.append(item)
    return tuple(found)


def _load_note(workload: Workload, model: LanguageModel | None = None) -> Reason:
    """For which requests the speed is meant."""
    limit = workload.context_tokens if model is None else min(workload.context_tokens, model.max_context_tokens)
    load = load_of(workload, limit)
    prompt, output = load.prompt_tokens, load.output_tokens
    if load.rate_per_s is not None:
        return note("speed_of_arrivals", prompt_tokens=prompt, output_tokens=output, rate=load.rate_per_s)
    return note("speed_of_load", prompt_tokens=prompt, output_tokens=output, requests=load.concurrent_requests or 1)


def purpose_of(use: str) -> str:
    """The ranking of models that a use takes; work in bulk has none of its own and takes that of chat."""
    return use if use in known_purposes() else "chat"


def _with_quality(item: Evaluated, use: str) -> Evaluated:
    """A plan that says what its formats cost in quality, where that hurts."""
    deployment = item.deployment
    kv_format = None if item.budget is None else item.budget.kv.format
    found = quality_reasons(
        deployment.model, deployment.weight_format, kv_format=kv_format, context_tokens=deployment.context_tokens, use=use
    )  # fmt: skip
    return replace(item, reasons=(*item.reasons, *found))


def cost_of(item: Evaluated, rate: Rate) -> PlanCost | None:
    """What renting the GPUs of a plan costs, and its tokens; None without GPUs or where one has no price in the list."""
    deployment, speed = item.deployment, item.speed
    if not deployment.machine.devices:
        return None
    return plan_cost(
        deployment.machine, None if speed is None else speed.output_tok_per_s, rate.currency, rate,
        prefill_tok_per_s=None if speed is None else speed.prefill_tok_per_s, device_count=deployment.device_count,
    )  # fmt: skip


def _missing(missing: FactMissing) -> Reason:
    if isinstance(missing, UnknownArchitecture):
        return unknown("architecture_unknown", architecture=missing.architecture, where=missing.where)
    return unknown("fact_missing", fact=missing.fact, where=missing.where)


def estimate(request: EstimateRequest, world: World, *, simulates: bool = True) -> Answer:
    """One fully fixed deployment, judged; what was not given takes the first choice of the engine, and a note says so.

    `simulates`: with the percentiles of its workload and what more hardware would change, which take longer than the rest.
    """
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
        return Answer(
            request=request, rejected=(judged,), notes=(*resolved.notes, *notes), rate=resolved.rate,
            load=load_of(resolved.workload), targets=resolved.wishes.targets,
        )  # fmt: skip
    load, targets = load_of(resolved.workload), resolved.wishes.targets
    judged = with_corrections(with_speed(judged, load, targets), request, world)
    if simulates:
        from fitserve.search.serve import with_served  # other verbs do not simulate

        judged = with_served(judged, load, resolved.workload, targets)
    users = users_within(judged, load, targets)
    judged = replace(_with_quality(judged, request.use), users_within_targets=users)
    notes.append(_load_note(resolved.workload, read.model))
    more = outlook(judged, load, targets, request.use, priced_gpus(), evaluate) if simulates else ()
    return Answer(
        request=request, plans=(judged,), notes=(*resolved.notes, *notes), rate=resolved.rate,
        load_curve=load_curve(judged, load), outlook=more, load=load, targets=targets,
    )  # fmt: skip


def fixed_deployment(request: PlanRequest, world: World) -> tuple[Deployment, tuple[Reason, ...]]:
    """The one deployment that an estimate judges, and what was assumed. Raises InputError, FactMissing."""
    read, resolved = resolve_plan(request, world)
    deployment, _, notes = _fixed(read, resolved)
    return deployment, (*resolved.notes, *notes)


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


def fit(request: FitRequest, world: World, among: Iterable[str] | None = None) -> Answer:
    """Every chat model of the catalogue (or of `among`) on this machine: its best format, or why it does not fit."""
    resolved = resolve_hardware(request, world)
    evaluate = Evaluator()
    plans: list[Evaluated] = []
    rejected: list[Evaluated] = []
    for model_id in _wanted(request.family) if among is None else among:
        try:
            best = best_of_model(
                catalog_model(model_id), resolved.machine, resolved.workload, resolved.wishes, evaluate
            )
        except FitserveError:
            continue
        if best is not None and best.fits:
            load = load_of(resolved.workload, best.deployment.context_tokens)
            plans.append(with_speed(best, load, resolved.wishes.targets))
        elif best is not None:
            rejected.append(best)
        evaluate.known.clear()  # nothing is judged twice across models
    plans.sort(key=partial(_fit_key, use=request.use))
    limit = request.limit or len(plans)
    return Answer(
        request=request, plans=tuple(plans[:limit]), rejected=tuple(rejected), rate=resolved.rate,
        not_shown=max(0, len(plans) - limit),
        notes=(*resolved.notes, _load_note(resolved.workload)),
    )  # fmt: skip


def _wanted(family: str | None) -> Iterable[str]:
    chats = [row for row in rows().values() if is_chat(row)]
    if family is None:
        return [row["id"] for row in chats]
    wanted = [row["id"] for row in chats if family.lower() in row["family"].lower()]
    if not wanted:
        raise InputError.of("unknown_family", given=family, known=tuple(sorted({row["family"] for row in chats})))
    return wanted


def _fit_key(item: Evaluated, use: str) -> tuple[float, ...]:
    """Targets first, formats that lose little, the rank of the model for the purpose; unranked models follow by size."""
    model = item.deployment.model
    rank = place(model.id, purpose_of(use))
    return (
        float(item.misses_target),
        float(max(2, quality_class(model, item.deployment.weight_format))),
        float(rank is None),
        0.0 if rank is None else -rank.likely,
        -float(model.params("text")),
    )


def launch_command(item: Evaluated) -> LaunchCommand | None:
    """The command of a candidate that is supported; None when it could not start."""
    if not item.fits:
        return None
    return engine(item.deployment.engine).command(item.deployment)
