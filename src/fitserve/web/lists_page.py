"""Pages that set candidates side by side: what runs on a machine, variants, GPUs for a model."""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from fitserve.foundation.reasons import Severity
from fitserve.models.catalog.lookup import rows as model_rows
from fitserve.plan.answer import Answer, purpose_of
from fitserve.predict.model_quality import known_purposes, place
from fitserve.render.human import bytes_text, count_text, params_text
from fitserve.render.money import money_text, price_text
from fitserve.render.speed_text import cost_cell, rate_text, speed_cells
from fitserve.render.tables import quality_text
from fitserve.render.texts import Texts, value_text
from fitserve.search.evaluate import Evaluated
from fitserve.web.answers import compare_of, fit_of, hardware_of
from fitserve.web.asked import Asked, asked_of, pick_of
from fitserve.web.bars import bars_of, mini_bar, scale_bytes
from fitserve.web.errors import told
from fitserve.web.frame import page, texts_of, world_of
from fitserve.web.names import capital, gpu_title, short_name
from fitserve.web.rig import rig_view
from fitserve.web.shown import reason_view, split_text, spread_text, state_of

router = APIRouter(include_in_schema=False)
_NO_LICENCE, _NONE = "?", "–"


@router.get("/fit")
def fit_page(request: Request) -> Response:
    """What runs on a machine: the form, and the answer as soon as one is asked for."""
    return page(request, "fit.html", _fit(request), here="fit")


@router.get("/part/fit")
def fit_part(request: Request) -> Response:
    """The same without the frame."""
    return page(request, "fit_part.html", _fit(request))


@router.get("/compare")
def compare_page(request: Request) -> Response:
    """Variants side by side."""
    return page(request, "compare.html", _compare(request), here="compare")


@router.get("/part/compare")
def compare_part(request: Request) -> Response:
    """The same without the frame."""
    return page(request, "compare_part.html", _compare(request))


@router.get("/hardware")
def hardware_page(request: Request) -> Response:
    """Which GPUs, and how many of each, carry a model."""
    return page(request, "hardware.html", _hardware(request), here="hardware")


@router.get("/part/hardware")
def hardware_part(request: Request) -> Response:
    """The same without the frame."""
    return page(request, "hardware_part.html", _hardware(request))


def _frame(asked: Asked, words: Texts, has_model: bool) -> dict[str, Any]:
    return {
        "asked": asked,
        "problems": [],
        "rows": [],
        "notes": [],
        "rig": rig_view(asked, None, words) | {"has_model": has_model},
    }


def _fit(request: Request) -> dict[str, Any]:
    words, asked = texts_of(request), asked_of(request.query_params)
    values = _frame(asked, words, has_model=False) | {
        "is_asked": bool(request.query_params), "rejected_count": 0, "licences": [], "purposes": [], "tested": 0,
    }  # fmt: skip
    if not values["is_asked"]:
        return values
    with told(words) as problems:
        answer = fit_of(asked, world_of(request))
        listed = [_fit_row(item, answer, asked, words) for item in answer.plans]
        values |= {
            "rows": listed, "rejected_count": len(answer.rejected), "tested": len(answer.plans) + len(answer.rejected),
            "notes": [reason_view(note, words) for note in answer.notes],
            "licences": sorted({row["licence"] for row in listed}), "use": answer.use,
            "purposes": [(name, words.text("web", f"purpose_{name}")) for name in known_purposes()],
        }  # fmt: skip
    return values | {"problems": problems}


def _fit_row(item: Evaluated, answer: Answer, asked: Asked, words: Texts) -> dict[str, Any]:
    deployment, budget = item.deployment, item.budget
    model = deployment.model
    row = model_rows().get(model.id) or model_rows().get(model.base_id or "") or {}
    bars = () if budget is None else bars_of(budget, deployment.machine.host.ram_bytes, words)
    per_user, first = speed_cells(item)
    used = 0 if budget is None else sum(d.used_bytes for d in budget.devices) or budget.host_bytes
    ranks = {name: found.likely for name in known_purposes() if (found := place(model.id, name)) is not None}
    rank = ranks.get(purpose_of(answer.use))
    return {
        "name": short_name(model.id), "owner": model.id.partition("/")[0], "params": model.params(),
        "params_text": params_text(model.params()), "licence": row.get("licence") or _NO_LICENCE, "ranks": ranks,
        "engine": value_text("engine", deployment.engine), "format": deployment.weight_format.name,
        "quality": capital(quality_text(item, words)), "bar": mini_bar(bars, words), "used": used, "used_text": bytes_text(used),
        "longest": 0 if budget is None else budget.kv.max_context_tokens,
        "longest_text": "–" if budget is None else count_text(budget.kv.max_context_tokens),
        "speed": 0 if item.speed is None else item.speed.per_user_tok_per_s.likely, "speed_text": per_user, "first": first,
        "rank": rank, "rank_text": "–" if rank is None else f"{rank:.0f}", "state": state_of(item),
        "korean_text": "–" if "korean" not in ranks else f"{ranks['korean']:.0f}",
        "href": "/plan?" + asked.query({"model": model.id, "family": None, "pick": pick_of(deployment)}),
    }  # fmt: skip


def _compare(request: Request) -> dict[str, Any]:
    words, asked = texts_of(request), asked_of(request.query_params)
    given = asked.values.get("variants", ())
    values = _frame(asked, words, has_model=False) | {"written": (*given, *[""] * max(1, 2 - len(given)))}
    if len(given) < 2:
        return values
    with told(words) as problems:
        answer = compare_of(asked, world_of(request))
        items = [variant.item for variant in answer.variants]
        all_bars = [
            () if i is None or i.budget is None else bars_of(i.budget, i.deployment.machine.host.ram_bytes, words)
            for i in items
        ]
        scale = max((scale_bytes(bars) for bars in all_bars if bars), default=1.0)
        for variant, bars in zip(answer.variants, all_bars, strict=True):
            row: dict[str, Any] = {
                "written": variant.written,
                "bar": mini_bar(bars, words, scale),
                "item": None,
                "against": [],
            }
            if variant.unreadable is not None:
                row["against"] = [words.reason(variant.unreadable)]
            if variant.item is not None:
                row |= _variant(variant.item, variant.rate, asked, words)
            values["rows"].append(row)
    return values | {"problems": problems}


def _variant(item: Evaluated, rate: Any, asked: Asked, words: Texts) -> Mapping[str, Any]:
    deployment, budget, speed = item.deployment, item.budget, item.speed
    per_user, first = speed_cells(item)
    used = 0 if budget is None else sum(d.used_bytes for d in budget.devices) or budget.host_bytes
    gpus = " + ".join(f"{gpu_title(gpu)} × {count}" for gpu, count in deployment.machine.counts) or "CPU"
    return {
        "item": True, "model": short_name(deployment.model.id), "gpus": gpus, "state": state_of(item),
        "verdict": words.text("web", f"verdict_{state_of(item)}"), "format": deployment.weight_format.name,
        "engine": f"{value_text('engine', deployment.engine)} {deployment.engine_version}", "split": split_text(item, words),
        "quality": capital(quality_text(item, words)), "used": bytes_text(used) if used else "–",
        "longest": "–" if budget is None else count_text(budget.kv.max_context_tokens),
        "at_once": "–" if budget is None else f"{int(budget.kv.max_concurrency * 10) / 10:,.1f}",
        "per_user": per_user, "all_users": "–" if speed is None else rate_text(speed.output_tok_per_s.likely), "first": first,
        "spread": "" if speed is None else spread_text(speed.per_user_tok_per_s),
        "cost": cost_cell(item, rate, words),
        "against": [words.reason(r) for r in item.reasons if r.severity is Severity.BLOCKER],
        "href": "/plan?" + asked.query({
            "variants": None, "model": deployment.model.id, "pick": pick_of(deployment), "context": deployment.context_tokens,
            "gpu": tuple(f"{gpu}:{count}" for gpu, count in deployment.machine.counts) or ("none",),
        }),
    }  # fmt: skip


def _hardware(request: Request) -> dict[str, Any]:
    words, asked = texts_of(request), asked_of(request.query_params)
    values = _frame(asked, words, has_model=True) | {"is_asked": bool(asked.one("model")), "without": []}
    if not values["is_asked"]:
        return values
    with told(words) as problems:
        answer = hardware_of(asked, world_of(request))
        for choice in answer.choices:
            deployment, speed = choice.item.deployment, choice.item.speed
            per_user, first = speed_cells(choice.item)
            rate = answer.rate
            values["rows"].append({
                "gpu": gpu_title(choice.gpu), "count": choice.count, "engine": value_text("engine", deployment.engine),
                "format": deployment.weight_format.name, "per_user": per_user, "first": first,
                "memory": bytes_text(deployment.machine.devices[0].memory_bytes),
                "all_users": "–" if speed is None else rate_text(speed.output_tok_per_s.likely),
                "rent": _NONE if choice.usd_per_hour is None
                else price_text(rate.of(choice.usd_per_hour), rate.currency, words.language),
                "listed": "–" if choice.list_usd is None else money_text(choice.list_usd.quantize(1), "USD").removesuffix(".00"),
                "rent_usd": float(choice.usd_per_hour or 0), "list_usd": float(choice.list_usd or 0),
                "speed": 0 if speed is None else speed.per_user_tok_per_s.likely,
                "href": "/plan?" + asked.query({"gpu": f"{choice.gpu}:{choice.count}", "pick": pick_of(deployment)}),
            })  # fmt: skip
        values |= {
            "without": [gpu_title(gpu) for gpu in answer.without],
            "notes": [reason_view(n, words) for n in answer.notes],
        }
    return values | {"problems": problems}
