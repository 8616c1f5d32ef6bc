"""Answers of the use cases, kept for a while: the same address asks the same question."""

from dataclasses import replace
from functools import lru_cache

from fitserve.foundation.errors import FactMissing, FitserveError
from fitserve.plan.answer import Answer, estimate, fit, fixed_deployment, plan
from fitserve.plan.compare import CompareRequest, Comparison, compare
from fitserve.plan.hardware import HardwareChoiceRequest, HardwareChoices, which_hardware
from fitserve.plan.here import with_corrections
from fitserve.plan.request import EstimateRequest, FitRequest, PlanRequest
from fitserve.plan.resolve import resolve_hardware
from fitserve.plan.world import World
from fitserve.search.evaluate import Evaluated, evaluate
from fitserve.search.speeds import load_of, with_speed
from fitserve.web.asked import Asked, fields_of_pick, pick_of
from fitserve.web.memo import Memo
from fitserve.workload.presets import preset
from fitserve.workload.types import Targets, Workload

_LADDER = tuple(2**power for power in range(11, 23))
_RUNGS = 7
_PLANS: Memo[Answer] = Memo(128)
_FITS: Memo[Answer] = Memo(32)
_COMPARES: Memo[Comparison] = Memo(32)
_HARDWARES: Memo[HardwareChoices] = Memo(16)


def plan_of(asked: Asked, world: World) -> Answer:
    """Ranked plans of a page's state. Raises InputError with everything that is wrong."""
    return _plan(PlanRequest.read(**asked.fields()), world)


def _plan(request: PlanRequest, world: World) -> Answer:
    return _PLANS.of((request, world), lambda: plan(request, world))


def estimate_of(asked: Asked, world: World) -> Answer:
    """The candidate that is looked at, judged alone: what a slider needs at once."""
    return _estimate(EstimateRequest.read(**(asked.fields() | fields_of_pick(asked.pick))), world)


@lru_cache(maxsize=512)
def _estimate(request: EstimateRequest, world: World) -> Answer:
    return estimate(request, world, simulates=False)


def quick_of(asked: Asked, world: World) -> Answer:
    """The same without fixes and without what grows with the number of users: a slider that moves waits for nothing."""
    return _quick(EstimateRequest.read(**(asked.fields() | fields_of_pick(asked.pick))), world)


@lru_cache(maxsize=1024)
def _quick(request: EstimateRequest, world: World) -> Answer:
    try:
        deployment, notes = fixed_deployment(request, world)
    except FactMissing:
        return estimate(request, world, simulates=False)  # says what is missing
    resolved = resolve_hardware(request, world, deployment.model)
    targets = resolved.wishes.targets
    judged = with_corrections(with_speed(evaluate(deployment), load_of(resolved.workload), targets), request, world)
    plans, rejected = ((judged,), ()) if judged.fits else ((), (judged,))
    return Answer(request=request, plans=plans, rejected=rejected, notes=notes, rate=resolved.rate)


def fit_of(asked: Asked, world: World) -> Answer:
    """What runs on a machine."""
    fields = asked.fields(tuple(FitRequest.model_fields))
    return _fit(FitRequest.read(**fields), world)


def _fit(request: FitRequest, world: World) -> Answer:
    return _FITS.of((request, world), lambda: fit(request, world))


def compare_of(asked: Asked, world: World) -> Comparison:
    """Variants side by side."""
    names = tuple(name for name in CompareRequest.model_fields if name != "variants")
    return _compare(CompareRequest.read(**asked.fields(names), variants=asked.values.get("variants", ())), world)


def _compare(request: CompareRequest, world: World) -> Comparison:
    return _COMPARES.of((request, world), lambda: compare(request, world))


def hardware_of(asked: Asked, world: World) -> HardwareChoices:
    """GPUs that carry a model for so many users."""
    return _hardware(HardwareChoiceRequest.read(**asked.fields()), world)


def _hardware(request: HardwareChoiceRequest, world: World) -> HardwareChoices:
    return _HARDWARES.of((request, world), lambda: which_hardware(request, world))


def shown_of(answer: Answer, asked: Asked, world: World) -> Evaluated | None:
    """The candidate to look at: the one that was picked, else the best plan, else the rejected one that is nearest."""
    if asked.pick:
        for item in (*answer.plans, *answer.rejected):
            if pick_of(item.deployment) == asked.pick:
                return item
        try:
            alone = estimate_of(asked, world)
            return next(iter((*alone.plans, *alone.rejected)), None)
        except (FitserveError, FactMissing):
            pass  # a candidate of another model or machine: the best one is shown
    if answer.plans:
        return answer.plans[0]
    return min(answer.rejected, key=_distance, default=None)


def _distance(item: Evaluated) -> tuple[bool, float]:
    """How far a rejected candidate is from fitting."""
    if item.budget is None or not item.is_memory_only:
        return True, 0.0
    room = sum(device.usable_bytes for device in item.budget.devices)
    return False, item.budget.total_bytes.likely / max(1, room)


def ladder(item: Evaluated, use: str) -> tuple[tuple[int, Evaluated], ...]:
    """The same candidate at other contexts, each alone: (tokens, judged)."""
    now = item.deployment.context_tokens
    limit = item.deployment.model.max_context_tokens
    steps = sorted({*(size for size in _LADDER if size <= limit), now})
    near = sorted(steps, key=lambda size: abs(steps.index(size) - steps.index(now)))[:_RUNGS]
    usual = preset(use)
    found = []
    for size in sorted(near):
        work = Workload(
            context_tokens=size,
            concurrent_requests=1,
            use=use,
            prompt_tokens=min(usual.prompt_tokens or 1, size // 2),
            output_tokens=min(usual.output_tokens or 1, size // 2),
        )
        judged = evaluate(replace(item.deployment, context_tokens=size), item.needs_quantizing)
        found.append((size, with_speed(judged, load_of(work), Targets())))
    return tuple(found)
