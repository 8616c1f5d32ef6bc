"""An evaluation as JSON and as tables."""

import shlex
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from fitserve.bench.eval_types import Comparison, EvalResult, Score
from fitserve.bench.lm_eval import argv_of, find_program
from fitserve.bench.request import EvalRequest, public_form
from fitserve.render.forms import SCHEMA_VERSION, reason_form
from fitserve.render.layout import Rows, headings_of, indented
from fitserve.render.texts import Texts

_NONE = "–"


def score_form(score: Score) -> dict[str, Any]:
    """A score, in the unit of lm_eval."""
    return {
        "task": score.task,
        "metric": score.metric,
        "filter": score.chosen_by,
        "value": score.value,
        "stderr": score.standard_error,
        "samples": score.samples,
        "all_samples": score.all_samples,
        "fewshot": score.shots,
        "higher_is_better": score.higher_is_better,
    }


def _comparison_form(item: Comparison, texts: Texts) -> dict[str, Any]:
    base = item.base
    return {
        "task": item.score.task,
        "metric": item.score.metric,
        "filter": item.score.chosen_by,
        "value": item.score.value,
        "base": {
            "value": base.value, "stderr": base.standard_error, "kind": base.kind, "benchmark": base.benchmark,
            "setting": base.setting, "reporter": base.reporter, "source": base.source, "fewshot": base.shots,
        },
        "difference": item.difference,
        "verdict": item.verdict,
        "differences": _differences(item, texts),
    }  # fmt: skip


def eval_form(result: EvalResult, texts: Texts) -> dict[str, Any]:
    """Scores, and those of the base model beside them."""
    return {
        "schema_version": SCHEMA_VERSION,
        "request": public_form(result.request),
        "model": result.model,
        "endpoint": result.endpoint,
        "lm_eval_version": result.version,
        "argv": list(result.argv),
        "duration_s": round(result.seconds, 3),
        "scores": [score_form(score) for score in result.scores],
        "compared": [_comparison_form(item, texts) for item in result.comparisons],
        "notes": [reason_form(reason, texts) for reason in result.notes],
    }


def eval_view(result: EvalResult, texts: Texts) -> RenderableType:
    """Scores, then the comparison with its differences of setting."""
    title = texts.label(
        "eval_title", model=result.model, url=result.request.url, endpoint=result.endpoint, version=result.version
    )
    parts: list[RenderableType] = [Text(title, style="bold"), _scores(result, texts)]
    if result.comparisons:
        parts.append(Text(texts.label("eval_compared"), style="bold"))
        for item in result.comparisons:
            parts += _comparison(item, texts)
    else:
        tasks = ", ".join(dict.fromkeys(score.task for score in result.scores))
        model = result.request.model or result.model
        parts.append(indented(f"· {texts.label('eval_no_published', model=model, tasks=tasks)}"))
    parts += [indented(f"· {texts.reason(reason)}") for reason in result.notes]
    return Group(*parts)


def _scores(result: EvalResult, texts: Texts) -> Rows:
    names = ("eval_task", "eval_metric", ">eval_score", ">eval_error", ">eval_samples", ">eval_shots")
    rows = tuple(
        (
            score.task,
            score.metric if score.chosen_by == "none" else f"{score.metric} ({score.chosen_by})",
            f"{score.value:.4f}",
            _NONE if score.standard_error is None else f"{score.standard_error:.4f}",
            _NONE if score.samples is None else f"{score.samples:,} / {score.all_samples or score.samples:,}",
            _NONE if score.shots is None else str(score.shots),
        )
        for score in result.scores
    )
    return Rows(headings_of(names, texts), rows, lead=2)


def _differences(item: Comparison, texts: Texts) -> list[str]:
    return [texts.label(code, **dict(parameters)) for code, parameters in item.differences]


def _comparison(item: Comparison, texts: Texts) -> list[RenderableType]:
    base, score = item.base, item.score
    if base.kind == "given":
        source = texts.label("eval_given")
    else:
        source = texts.label("eval_published", benchmark=base.benchmark, setting=base.setting, reporter=base.reporter)
    verdict = texts.label(f"eval_{item.verdict}")
    line = f"{score.task}: {score.value:.4f} / {base.value:.4f} ({item.difference:+.4f}, {verdict}) · {source}"
    lines: list[RenderableType] = [indented(line)]
    differences = _differences(item, texts)
    if differences:
        lines.append(indented(texts.label("eval_settings", differences="; ".join(differences)), style="dim", indent=5))
    return lines


def _dry_argv(request: EvalRequest) -> tuple[str, ...]:
    endpoint = "chat" if request.endpoint == "chat" else "completions"
    program = find_program(request) or "lm_eval"
    return argv_of(request, program, request.served_model or request.model or "MODEL", endpoint, "lm_eval-result")


def eval_dry_form(request: EvalRequest, texts: Texts) -> dict[str, Any]:
    """The command that would run."""
    return {
        "schema_version": SCHEMA_VERSION, "request": public_form(request), "dry_run": True,
        "text": texts.label("eval_dry"), "argv": list(_dry_argv(request)),
    }  # fmt: skip


def eval_dry_view(request: EvalRequest, texts: Texts) -> RenderableType:
    """The command that would run."""
    command = Text("  " + shlex.join(_dry_argv(request)), overflow="ignore", no_wrap=True)
    return Group(Text(texts.label("eval_dry"), style="bold"), command)
