"""Plans with their speed: what the load of the request gets, and which targets it misses."""

from dataclasses import replace

from fitserve.foundation.errors import FactMissing
from fitserve.foundation.intervals import Interval
from fitserve.foundation.reasons import Reason, note, warning
from fitserve.predict.speed import speed_of
from fitserve.predict.types import Load, Speed
from fitserve.search.evaluate import Evaluated
from fitserve.workload.presets import preset
from fitserve.workload.types import Targets, Workload

_LEAST_PROMPT_SHARE = 0.5
_LONG_RUN = 1000
"""Arrivals of a run whose start and end hardly count."""


def load_of(workload: Workload, context_tokens: int | None = None) -> Load:
    """The requests whose speed is predicted: as asked, else those of the purpose, cut to the context."""
    usual = preset(workload.use)
    context = context_tokens or workload.context_tokens
    prompt, output = workload.prompt_tokens, workload.output_tokens
    if output is None:
        rest = context - (prompt or 0)
        output = max(1, min(usual.output_tokens or 1, rest if prompt else int(context * (1 - _LEAST_PROMPT_SHARE))))
    if prompt is None:
        prompt = max(1, min(usual.prompt_tokens or 1, context - output))
    return Load(
        prompt_tokens=prompt, output_tokens=output, rate_per_s=workload.rate_per_s,
        concurrent_requests=None if workload.rate_per_s is not None else workload.concurrent_requests,
        draft_acceptance=workload.draft_acceptance,
        request_count=None if workload.rate_per_s is None else _LONG_RUN,
    )  # fmt: skip


def with_speed(item: Evaluated, load: Load, targets: Targets) -> Evaluated:
    """A plan with its speed, the reasons that the speed rests on, and a warning for each target it misses."""
    if not item.fits or item.budget is None or item.speed is not None:
        return item
    try:
        speed = speed_of(item.deployment, item.budget, load)
    except FactMissing as missing:
        is_wished = targets != Targets()
        reason = (warning if is_wished else note)("speed_unknown", fact=missing.fact, engine=item.deployment.engine)
        return replace(item, reasons=(*item.reasons, reason), misses_target=is_wished)
    missed = missed_targets(speed, targets)
    return replace(item, speed=speed, reasons=(*item.reasons, *missed, *speed.reasons), misses_target=bool(missed))


def with_speeds_of_fixes(item: Evaluated, load: Load, targets: Targets) -> Evaluated:
    """A rejected candidate whose fixes say how fast they would be."""
    fixes = tuple(replace(fix, result=with_speed(fix.result, load, targets)) for fix in item.fixes)
    return replace(item, fixes=fixes)


def missed_targets(speed: Speed, targets: Targets) -> tuple[Reason, ...]:
    """A warning for every target that the likely figure misses."""
    rows: tuple[tuple[str, float | None, Interval, bool], ...] = (
        ("ttft", targets.ttft_s, speed.ttft_s, False),
        ("inter_token", targets.inter_token_s, speed.inter_token_s, False),
        ("min_tok_per_s", targets.min_tok_per_s, speed.per_user_tok_per_s, True),
    )
    return tuple(
        warning(f"target_{name}_missed", wanted=wanted, likely=_rounded(found.likely))
        for name, wanted, found, is_least in rows
        if wanted is not None and (found.likely < wanted if is_least else found.likely > wanted)
    )


def _rounded(value: float) -> float:
    """Three significant digits."""
    return float(f"{value:.3g}")
