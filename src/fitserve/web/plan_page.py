"""The plan page: what runs, how it fills the memory, how fast, at what cost, by which command, and why not otherwise."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from fitserve.foundation.reasons import Severity, Verdict
from fitserve.plan.answer import Answer
from fitserve.render.human import count_text
from fitserve.render.json_form import fix_text
from fitserve.render.speed_text import cost_cell, rate_text, seconds_text, speed_cells
from fitserve.render.tables import quality_text
from fitserve.render.texts import Texts, value_text
from fitserve.render.variants import wins_text
from fitserve.search.evaluate import Evaluated
from fitserve.web.answers import ladder, plan_of, quick_of, shown_of
from fitserve.web.asked import Asked, asked_of, pick_of
from fitserve.web.bars import bars_of, mini_bar, scale_bytes
from fitserve.web.commands import commands_view
from fitserve.web.errors import told
from fitserve.web.frame import page, texts_of, world_of
from fitserve.web.names import capital
from fitserve.web.rig import rig_view
from fitserve.web.shown import fix_view, reason_view, shown_view, split_text, state_of

router = APIRouter(include_in_schema=False)
EXAMPLE = {
    "model": "meta-llama/Llama-4-Scout-17B-16E-Instruct", "gpu": "a100-sxm-80gb", "context": "16384",
    "concurrency": "4", "use": "coding",
}  # fmt: skip
"""What the first page shows: a model whose attention most calculators get wrong."""
_REJECTED_SHOWN = 10
_PLANS_SHOWN = 12


@router.get("/")
@router.get("/plan")
def plan_page(request: Request) -> Response:
    """The whole page."""
    return page(request, "plan.html", _whole(request), here="plan")


@router.get("/part/plan")
def plan_part(request: Request) -> Response:
    """Form and answer of a changed address, without the frame."""
    return page(request, "plan_part.html", _whole(request))


@router.get("/part/plan/quick")
def quick_part(request: Request) -> Response:
    """The candidate on show, judged again: while a slider moves."""
    words, asked = texts_of(request), asked_of(request.query_params)
    with told(words) as problems:
        answer = quick_of(asked, world_of(request))
    if problems:
        return page(request, "problems.html", {"problems": problems}, status=422)
    item = next(iter((*answer.plans, *answer.rejected)), None)
    if item is None:
        return page(request, "quick_part.html", {"shown": None, "unreadable": _unreadable(answer, words)})
    shown = shown_view(item, asked, words, answer.rate)
    values = {"shown": shown, "speed": speed_view(item, answer, words), "commands": commands_view(item, words)}
    return page(request, "quick_part.html", values | {"asked": asked, "compare": compare_link(item, asked)})


def _whole(request: Request) -> dict[str, Any]:
    """Everything of the page; problems of the input stand in place of the answer."""
    words = texts_of(request)
    asked = asked_of(request.query_params, EXAMPLE)
    values: dict[str, Any] = {
        "asked": asked, "problems": [], "shown": None, "plans": [], "rejected": [], "notes": [], "unreadable": None,
        "is_example": not request.query_params, "others": [],
    }  # fmt: skip
    item = None
    with told(words) as problems:
        answer = plan_of(asked, world_of(request))
        item = shown_of(answer, asked, world_of(request))
        values |= answer_view(answer, item, asked, words)
    values["problems"] = problems
    return values | {"rig": rig_view(asked, item, words)}


def answer_view(answer: Answer, item: Evaluated | None, asked: Asked, words: Texts) -> dict[str, Any]:
    """The parts below the form."""
    values: dict[str, Any] = {
        "notes": [reason_view(note, words) for note in answer.notes], "unreadable": _unreadable(answer, words),
        "plans": _plan_rows(answer, item, asked, words), **_rejected(answer, asked, words),
    }  # fmt: skip
    if item is not None:
        values |= {
            "shown": shown_view(item, asked, words, answer.rate), "speed": speed_view(item, answer, words),
            "commands": commands_view(item, words), "ladder": _ladder(item, answer, asked, words),
            "compare": compare_link(item, asked),
            "settings": [fix_view(fix, asked, words) | {"wins": wins_text(item, fix, words)} for fix in item.variants],
        }  # fmt: skip
    return values


def _unreadable(answer: Answer, words: Texts) -> Mapping[str, str] | None:
    return None if answer.unreadable is None else reason_view(answer.unreadable, words)


def _plan_rows(answer: Answer, shown: Evaluated | None, asked: Asked, words: Texts) -> list[dict[str, Any]]:
    """The best split of each engine and format, with the address that shows it."""
    first: dict[tuple[str, str, int], Evaluated] = {}
    for item in answer.plans:
        chosen = item.deployment
        first.setdefault((chosen.engine, chosen.weight_format.name, chosen.device_count), item)
    listed = list(first.values())[:_PLANS_SHOWN]
    all_bars = [bars_of(item.budget, item.deployment.machine.host.ram_bytes, words) for item in listed if item.budget]
    scale = max((scale_bytes(bars) for bars in all_bars), default=1.0)
    rows = []
    for item, bars in zip(listed, all_bars, strict=True):
        per_user, first_token = speed_cells(item)
        budget = item.budget
        rows.append({
            "engine": value_text("engine", item.deployment.engine), "format": item.deployment.weight_format.name,
            "quality": capital(quality_text(item, words)), "split": split_text(item, words), "bar": mini_bar(bars, words, scale),
            "longest": count_text(budget.kv.max_context_tokens) if budget else "–", "state": state_of(item),
            "at_once": f"{int(budget.kv.max_concurrency * 10) / 10:,.1f}" if budget else "–", "per_user": per_user,
            "first_token": first_token, "cost": cost_cell(item, answer.rate, words), "front": bool(item.is_on_front),
            "href": f"/plan?{asked.query({'pick': pick_of(item.deployment)})}",
            "is_shown": shown is not None and pick_of(shown.deployment) == pick_of(item.deployment),
            "verdict": words.text("web", f"verdict_{state_of(item)}"),
        })  # fmt: skip
    return rows


def _rejected(answer: Answer, asked: Asked, words: Texts) -> dict[str, Any]:
    """One block for all formats of an engine that are rejected for the same reasons."""
    groups: dict[tuple[str, str, tuple[str, ...]], list[Evaluated]] = {}
    for item in answer.rejected:
        why = tuple(words.reason(reason) for reason in item.reasons if _weighs(item, reason.severity, reason.verdict))
        groups.setdefault((item.deployment.engine, state_of(item), why), []).append(item)
    blocks = []
    for (engine_id, state, why), alike in list(groups.items())[:_REJECTED_SHOWN]:
        fixes = {fix_text(fix, words): fix for item in alike for fix in item.fixes if fix.knob != "model"}
        blocks.append({
            "engine": value_text("engine", engine_id), "state": state, "verdict": words.text("web", f"verdict_{state}"),
            "formats": [item.deployment.weight_format.name for item in alike], "why": why,
            "fixes": [fix_view(fix, asked, words) for fix in list(fixes.values())[:4]],
            "href": f"/plan?{asked.query({'pick': pick_of(alike[0].deployment)})}",
        })  # fmt: skip
    models = {fix_text(fix, words): fix for item in answer.rejected for fix in item.fixes if fix.knob == "model"}
    return {"rejected": blocks, "others": [fix_view(fix, asked, words) for fix in models.values()]}


def _weighs(item: Evaluated, severity: Severity, verdict: Verdict) -> bool:
    if item.verdict is Verdict.NOT_SUPPORTED:
        return verdict is Verdict.NOT_SUPPORTED
    return severity is not Severity.NOTE


def _ladder(item: Evaluated, answer: Answer, asked: Asked, words: Texts) -> list[dict[str, Any]]:
    """Contexts against what they leave."""
    rows = []
    found = ladder(item, answer.use) if item.budget is not None else ()
    all_bars = [
        bars_of(step.budget, item.deployment.machine.host.ram_bytes, words) if step.budget else () for _, step in found
    ]
    scale = max((scale_bytes(bars) for bars in all_bars if bars), default=1.0)
    wanted = item.deployment.concurrent_requests
    alone = {"prompt_tokens": None, "output_tokens": None, "pick": pick_of(item.deployment)}
    for (size, step), bars in zip(found, all_bars, strict=True):
        kv = None if step.budget is None else step.budget.kv
        at_once = 0.0 if kv is None or not step.fits else kv.max_concurrency
        state = state_of(step) if not step.fits else "tight" if at_once < wanted else "fits"
        rows.append({
            "tokens": size, "is_now": size == item.deployment.context_tokens, "bar": mini_bar(bars, words, scale),
            "each": None if kv is None else kv.bytes_at_context,
            "at_once": f"{int(at_once * 10) / 10:,.1f}" if step.fits else "–",
            "alone": "–" if step.speed is None else rate_text(step.speed.per_user_tok_per_s.likely), "state": state,
            "verdict": words.text("web", f"verdict_{state}"),
            "href": f"/plan?{asked.query(alone | {'context': size})}",
        })  # fmt: skip
    return rows


def speed_view(item: Evaluated, answer: Answer, words: Texts) -> dict[str, Any] | None:
    """Intervals of the speed, and what users get as they become more."""
    speed = item.speed
    if speed is None:
        return None
    rows = [
        ("per_user", speed.per_user_tok_per_s, rate_text, "tok/s"),
        ("all_users", speed.output_tok_per_s, rate_text, "tok/s"),
        ("first_token", speed.ttft_s, seconds_text, ""),
        ("gap", speed.inter_token_s, seconds_text, ""),
    ]
    if speed.prefill_tok_per_s is not None:
        rows.append(("prefill", speed.prefill_tok_per_s, rate_text, "tok/s"))
    return {
        "rows": [
            {"name": words.text("web", name), "low": value.low, "likely": value.likely, "high": value.high, "unit": unit,
             "text": show(value.likely), "spread": f"{show(value.low)} – {show(value.high)}",
             "at": value.likely / (value.high or 1) * 100, "from": value.low / (value.high or 1) * 100}
            for name, value, show, unit in rows
        ],
        "basis": [
            {"kind": basis.kind, "ref": basis.ref, "name": words.text("web", f"basis_{basis.kind}")} for basis in speed.basis
        ],
        "within": item.users_within_targets,
    }  # fmt: skip


def compare_link(item: Evaluated, asked: Asked) -> str:
    """The comparison that starts with what is shown."""
    chosen = item.deployment
    mine = f"{asked.one('model')} engine={chosen.engine} format={chosen.weight_format.name}"
    return "/compare?" + asked.query(
        {"variants": (mine,), "pick": None, "model": None, "engine": None, "format": None, "engine_version": None}
    )
