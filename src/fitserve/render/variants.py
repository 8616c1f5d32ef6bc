"""Beside a plan: its other settings that win somewhere, and what more hardware would change."""

from decimal import Decimal
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from fitserve.foundation.reasons import Severity
from fitserve.plan.answer import Answer, cost_of
from fitserve.render.human import count_text
from fitserve.render.json_form import deployment_form, fix_text, parallel_text, speed_form
from fitserve.render.layout import Rows, headings_of, indented
from fitserve.render.money import price_text
from fitserve.render.speed_text import rate_text, seconds_text, speed_cells
from fitserve.render.texts import Texts
from fitserve.search.evaluate import Evaluated, Fix
from fitserve.search.outlook import Outlook
from fitserve.search.variants import AXES, gains

_NONE = "–"


def variants_view(item: Evaluated, texts: Texts) -> list[RenderableType]:
    """A line a variant: what is set, what it gains, and the warnings that come with it."""
    if not item.variants:
        return []
    had = {reason.code for reason in item.reasons}
    parts: list[RenderableType] = [Text(texts.label("variants"), style="bold")]
    for fix in item.variants:
        parts.append(indented(f"→ {fix_text(fix, texts)}: {wins_text(item, fix, texts)}"))
        parts += [
            indented(f"! {texts.reason(reason)}", indent=5)
            for reason in fix.result.reasons
            if reason.severity is Severity.WARNING and reason.code not in had
        ]
    return [*parts, Text("")]


def wins_text(item: Evaluated, fix: Fix, texts: Texts) -> str:
    """What a variant gains: `tok/s of one user 31 → 44`."""
    before, after = gains(item), gains(fix.result)
    if before is None or after is None:
        return _NONE
    told = []
    for axis, own, theirs in zip(AXES, before, after, strict=True):
        if axis in fix.wins:
            told.append(texts.label(f"win_{axis}", before=_amount(axis, own), after=_amount(axis, theirs)))
    return " · ".join(told)


def _amount(axis: str, value: float) -> str:
    if axis == "first_token":
        return seconds_text(1 / value)
    return count_text(int(value)) if axis == "at_once" else rate_text(value)


def outlook_form(outlook: Outlook, answer: Answer) -> dict[str, Any]:
    """JSON of other hardware: its deployment, speed, room and rent an hour."""
    budget, rent = outlook.item.budget, _rent(outlook.item, answer)
    return {
        "kind": outlook.kind, "gpu": outlook.gpu, "count": outlook.count,
        "deployment": deployment_form(outlook.item), "speed": speed_form(outlook.item.speed),
        "max_context_tokens": None if budget is None else budget.kv.max_context_tokens,
        "max_concurrency": None if budget is None else budget.kv.max_concurrency,
        "users_within_targets": outlook.users, "usd_per_hour": None if rent is None else float(rent),
    }  # fmt: skip


def outlook_view(answer: Answer, texts: Texts) -> list[RenderableType]:
    """A row for the machine as it is, and one for each step."""
    if not answer.outlook:
        return []
    now = answer.plans[0]
    devices = now.deployment.machine.devices
    names = ("machine", "split", ">per_user", ">all_users", ">first_token", ">at_once", ">rent_hour")
    rows = [(f"{len(devices)} x {devices[0].id} ({texts.label('now')})", *_cells(now, answer))]
    rows += [(f"{step.count} x {step.gpu}", *_cells(step.item, answer)) for step in answer.outlook]
    return [Text(texts.label("outlook"), style="bold"), Rows(headings_of(names, texts), tuple(rows), lead=2)]


def _cells(item: Evaluated, answer: Answer) -> tuple[str, ...]:
    deployment, budget, rent = item.deployment, item.budget, _rent(item, answer)
    per_user, first = speed_cells(item)
    return (
        parallel_text(deployment.tp, deployment.pp) if deployment.device_count > 1 else "1 GPU",
        per_user,
        _NONE if item.speed is None else rate_text(item.speed.output_tok_per_s.likely),
        first,
        _NONE if budget is None else count_text(int(budget.kv.max_concurrency)),
        _NONE if rent is None else price_text(rent, "USD"),
    )


def _rent(item: Evaluated, answer: Answer) -> Decimal | None:
    found = cost_of(item, answer.rate)
    return None if found is None else found.usd_per_hour
