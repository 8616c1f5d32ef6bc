"""What is known, with its sources: models, GPUs, engines; and how far predictions are from measurements."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from fitserve.engines.registry import engines
from fitserve.evidence.cases import packaged_cases
from fitserve.evidence.score import Group, Row, rows_of, scoreboard
from fitserve.hardware.identify import gpu_rows
from fitserve.models.catalog.lookup import catalog_model, rows
from fitserve.render.human import bytes_text, count_text, params_text, percent_text
from fitserve.render.scoreboard import unanswered_counts
from fitserve.render.texts import Texts
from fitserve.web.find_page import gpus_like, models_like
from fitserve.web.frame import page, texts_of
from fitserve.web.memo import Memo
from fitserve.web.names import gpu_title, short_name
from fitserve.web.scatter import Dot, scatter

router = APIRouter(include_in_schema=False)
_TABS = ("models", "gpus", "engines")
_ON_A_PAGE = 60
_MOST_DOTS = 900
_CASES_SHOWN = 12
_MEGA = 1e9


@router.get("/catalogue")
def catalogue(request: Request) -> Response:
    """One of the three lists, searched by words."""
    words, query = texts_of(request), request.query_params
    tab = query.get("tab", "models") if query.get("tab", "models") in _TABS else "models"
    text = query.get("q", "")[:80]
    number = int(query.get("page", "1")) if query.get("page", "1").isdigit() else 1
    listed: list[dict[str, Any]] = {"models": _models, "gpus": _gpus, "engines": _engines}[tab](text, words)
    pages = max(1, -(-len(listed) // _ON_A_PAGE))
    number = min(max(1, number), pages)
    values = {
        "tab": tab, "tabs": _TABS, "q": text, "count": len(listed), "number": number, "pages": pages,
        "rows": listed[(number - 1) * _ON_A_PAGE : number * _ON_A_PAGE],
    }  # fmt: skip
    return page(request, "catalogue.html", values, here="catalogue")


def _models(text: str, words: Texts) -> list[dict[str, Any]]:
    chosen = [i for i, _ in models_like(text, most=len(rows()))] if text.strip() else list(rows())
    return [_model(rows()[model_id]) for model_id in chosen]


def _model(row: Mapping[str, Any]) -> dict[str, Any]:
    model = catalog_model(row["id"])
    total, active = row["total_params"], row["active_params"]
    return {
        "id": row["id"], "name": short_name(row["id"]), "family": row["family"], "licence": row["licence"] or "–",
        "params": params_text(total) if total else "–", "active": params_text(active) if active and active != total else "",
        "context": count_text(model.max_context_tokens), "released": (row["release_date"] or "–")[:7],
        "format": model.checkpoint.weight_format if model.checkpoint else model.dtype,
    }  # fmt: skip


@router.get("/catalogue/model")
def model_page(request: Request) -> Response:
    """One model: what is known of it and from where."""
    row = rows().get(request.query_params.get("id", ""))
    if row is None:
        raise HTTPException(404)
    model = catalog_model(row["id"])
    mixers = Counter(f"mixer_{type(mixer).__name__}" for layer in model.layers for mixer in layer.mixers)
    values = {
        "row": row, "model": _model(row), "layers": len(model.layers), "mixers": sorted(mixers.items()),
        "architecture": row["config"]["architectures"][0], "hidden": model.hidden_size, "vocab": model.vocab_size,
        "copies": [i for i, other in rows().items() if other["quantized_from"] == row["id"]],
    }  # fmt: skip
    return page(request, "model.html", values, here="catalogue")


def _gpus(text: str, words: Texts) -> list[dict[str, Any]]:
    chosen = [i for i, _ in gpus_like(text, most=len(gpu_rows()))] if text.strip() else list(gpu_rows())
    return [_gpu(gpu_rows()[gpu_id]) for gpu_id in chosen]


def _gpu(row: Mapping[str, Any]) -> dict[str, Any]:
    bandwidth = row["bandwidth_bytes_per_s"]
    flop = row["dense_flop_per_s"].get("bf16") or row["dense_flop_per_s"].get("fp16")
    return {
        "id": row["id"], "name": gpu_title(row["id"]), "vendor": row["vendor"], "memory": bytes_text(row["memory_bytes"]),
        "capability": row["compute_capability"] or row["gfx"] or row["metal_family"] or "–",
        "bandwidth": "–" if bandwidth is None else f"{bandwidth / _MEGA:,.0f} GB/s",
        "tflops": "–" if flop is None else f"{flop / 1e12:,.0f}", "sources": row["sources"], "basis": row["basis"],
        "checked": row["checked"], "names": row["names"],
    }  # fmt: skip


def _engines(text: str, words: Texts) -> list[dict[str, Any]]:
    parts = text.lower().split()
    listed = [
        {
            "id": found.id, "title": found.facts["identity"]["title"], "first": found.versions[0], "last": found.versions[-1],
            "versions": len(found.versions), "systems": ", ".join(found.native_os), "licence": found.facts["identity"]["licence"],
            "status": [(name, part["state"], part[words.language]) for name, part in found.status.items()],
            "sources": sorted({row["source"]["ref"] for row in found.facts["features"]})[:20],
        }
        for found in engines()
    ]  # fmt: skip
    return [row for row in listed if all(part in f"{row['id']} {row['title']}".lower() for part in parts)]


_SCORED: Memo[tuple[Row, ...]] = Memo(1)


def _scored() -> tuple[Row, ...]:
    """Every packaged case, predicted now; some seconds, once, however many ask at the same time."""
    return _SCORED.of("all", lambda: tuple(row for case in packaged_cases() for row in rows_of(case)))


@router.get("/evidence")
def evidence_page(request: Request) -> Response:
    """The frame; the figures follow, because predicting thousands of cases takes some seconds."""
    if request.query_params.get("now"):
        return page(request, "evidence.html", _evidence(request), here="evidence")
    return page(request, "evidence.html", {"groups": None, "address": "/evidence"}, here="evidence")


@router.get("/part/evidence")
def evidence_part(request: Request) -> Response:
    """Scoreboard, scatter and cases for a choice of kind and metric."""
    return page(request, "evidence_part.html", _evidence(request))


def _evidence(request: Request) -> dict[str, Any]:
    words, query = texts_of(request), request.query_params
    scored = _scored()
    groups = [group for group in scoreboard(scored, merged=True) if group.answered and not group.doubted]
    numeric = [group for group in groups if any(row.error_pct is not None for row in group.rows)]
    chosen = next((g for g in numeric if f"{g.kind}.{g.metric}" == query.get("show")), None)
    chosen = chosen or next((g for g in numeric if g.kind == "vllm_memory"), numeric[0])
    text = query.get("q", "").strip().lower()[:80]
    found = [row for row in chosen.rows if row.error_pct is not None and _holds(row, text)]
    return {
        "groups": [_group(group) for group in groups], "choices": [f"{g.kind}.{g.metric}" for g in numeric], "q": text,
        "chosen": f"{chosen.kind}.{chosen.metric}", "scatter": _scatter(found, chosen, words), "count": len(found),
        "worst": _worst(found), "cases": len({row.case.id for row in scored}),
        "unanswered": unanswered_counts(scored, words)[:_CASES_SHOWN], "address": "/evidence",
    }  # fmt: skip


def _group(group: Group) -> dict[str, Any]:
    return {
        "kind": group.kind, "metric": group.metric, "cases": group.cases, "answered": group.answered,
        "median": percent_text(group.median_abs_pct), "p90": percent_text(group.p90_abs_pct),
        "bias": percent_text(group.bias_pct),
        "right": percent_text(group.right_pct), "inside": percent_text(group.inside_interval_pct),
        "key": f"{group.kind}.{group.metric}", "is_numeric": group.median_abs_pct is not None,
    }  # fmt: skip


def _holds(row: Row, text: str) -> bool:
    return all(part in f"{row.case.id} {row.case.given}".lower() for part in text.split())


def _dots(found: Sequence[Row]) -> list[Dot]:
    step = max(1, -(-len(found) // _MOST_DOTS))
    return [
        Dot(measured=float(row.measured), predicted=float(getattr(row.predicted, "likely", 0)), name=row.case.id,
            error_pct=row.error_pct or 0.0)
        for row in found[::step]
        if getattr(row.predicted, "likely", 0) > 0 and row.measured > 0
    ]  # fmt: skip


def _scatter(found: Sequence[Row], group: Group, words: Texts) -> Any:
    return scatter(
        _dots(found), x_title=words.text("web", "measured_axis", {"metric": group.metric}),
        y_title=words.text("web", "predicted_axis", {"metric": group.metric}),
        title=words.text("web", "scatter_title", {"metric": group.metric, "count": str(len(found))}),
    )  # fmt: skip


def _worst(found: Sequence[Row]) -> list[dict[str, str]]:
    """The largest errors: what is wrong is shown first."""
    listed = sorted(found, key=lambda row: -abs(row.error_pct or 0))[:_CASES_SHOWN]
    return [
        {"id": row.case.id, "measured": f"{row.measured:,.4g}", "predicted": f"{getattr(row.predicted, 'likely', 0):,.4g}",
         "error": percent_text(row.error_pct)}
        for row in listed
    ]  # fmt: skip
