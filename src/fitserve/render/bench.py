"""A benchmark as JSON of the contract, as tables, and as Markdown."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.text import Text

from fitserve.bench.compare import Compared, compared
from fitserve.bench.figures import Figures, Summary
from fitserve.bench.records import RequestRecord
from fitserve.bench.request import public_form
from fitserve.bench.types import BenchResult, Calibration, Level, LoadResult
from fitserve.bench.vllm_form import vllm_form
from fitserve.plan.answer import Answer
from fitserve.predict.types import Speed
from fitserve.render.forms import SCHEMA_VERSION, interval_form, reason_form
from fitserve.render.json_form import deployment_form, speed_form
from fitserve.render.layout import Rows, indented
from fitserve.render.speed_text import rate_text, seconds_text
from fitserve.render.tables import as_text
from fitserve.render.texts import Texts

Predictions = Sequence[Answer | None]
_NONE: Final = "–"
_DIGITS: Final = 6
_TIMES: Final = (
    ("bench_ttft", "ttft_ms"), ("bench_tpot", "inter_token_ms"), ("bench_itl", "itl_ms"), ("bench_e2el", "e2e_ms"),
    ("bench_queue", "queue_ms"),
)  # fmt: skip


def level_text(level: Level, texts: Texts) -> str:
    """A load in words."""
    if level.rate_per_s is None:
        return texts.label("bench_level_concurrency", count=level.concurrency)
    return texts.label("bench_level_rate", rate=level.rate_per_s, count=level.concurrency)


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{_DIGITS}g}")


def summary_form(times: Summary | None) -> dict[str, float | int | None] | None:
    """Milliseconds."""
    if times is None:
        return None
    names = ("mean", "std", "p50", "p90", "p99")
    return {name: _rounded(getattr(times, name)) for name in names} | {"count": times.count}


def _figures_form(seen: Figures) -> dict[str, Any]:
    return {
        "completed": seen.completed,
        "failed": seen.failed,
        "duration_s": _rounded(seen.duration_s),
        "total_input_tokens": seen.total_input_tokens,
        "total_output_tokens": seen.total_output_tokens,
        "request_per_s": _rounded(seen.request_per_s),
        "goodput_per_s": _rounded(seen.goodput_per_s),
        "output_tok_per_s": _rounded(seen.output_tok_per_s),
        "total_tok_per_s": _rounded(seen.total_tok_per_s),
        "peak_output_tok_per_s": seen.peak_output_tok_per_s,
        "peak_concurrent_requests": seen.peak_concurrent_requests,
        **{name: summary_form(getattr(seen, name)) for _, name in _TIMES},
        "errors": dict(seen.errors),
    }


def _calibration_form(found: Calibration | None) -> dict[str, Any] | None:
    if found is None:
        return None
    names = ("kept_ttft_ms", "kept_itl_ms", "seen_ttft_ms", "seen_itl_ms", "excess_ttft_ms", "excess_itl_ms")
    rest = {"streams": found.streams, "lost_share": _rounded(found.lost_share), "tolerance": found.tolerance}
    return rest | {name: _rounded(getattr(found, name)) for name in names}


def record_form(record: RequestRecord) -> dict[str, Any]:
    """A request: seconds; `chunk_s` is the time of every chunk after `start_s`."""
    failure = record.failure
    return {
        "index": record.index,
        "start_s": round(record.start_s, 6),
        "chunk_s": [round(at, 6) for at in record.chunk_s],
        "end_s": round(record.end_s, 6),
        "queue_s": round(record.queue_s, 6),
        "prompt_tokens": record.prompt_tokens,
        "output_tokens": record.output_tokens,
        "error": None if failure is None else {"kind": failure.kind, "detail": failure.detail},
    }


def _run_form(
    result: BenchResult, run: LoadResult, answer: Answer | None, texts: Texts, with_requests: bool
) -> dict[str, Any]:
    form: dict[str, Any] = {"concurrency": run.level.concurrency, "rate_per_s": run.level.rate_per_s}
    form |= _figures_form(run.figures)
    form |= {
        "prompt_tokens_mean": _rounded(run.prompt_tokens_mean),
        "output_tokens_mean": _rounded(run.output_tokens_mean),
        "predicted": _predicted_form(run, answer),
        "client_limited": run.client_limited,
        "loop_late_ms": _rounded(run.loop_late_ms),
        "calibration": _calibration_form(run.calibration),
        "notes": [reason_form(reason, texts) for reason in run.notes],
        "partial": run.is_partial,
        "vllm": vllm_form(result, run, detailed=False),
    }
    if with_requests:
        form["requests"] = [record_form(record) for record in run.records]
    return form


def bench_form(
    result: BenchResult, predictions: Predictions, texts: Texts, with_requests: bool = False
) -> dict[str, Any]:
    """JSON of the contract. Figures at the top are those of the last load; `runs` has all."""
    answers = [*predictions, *([None] * len(result.runs))]
    runs = [
        _run_form(result, run, answer, texts, with_requests) for run, answer in zip(result.runs, answers, strict=False)
    ]
    shared = {
        "model": result.model, "endpoint": result.endpoint, "client": result.client,
        "client_version": result.client_version, "started": result.started,
    }  # fmt: skip
    top = {
        key: value for key, value in (runs[-1] if runs else {}).items() if key not in {"requests", "notes", "partial"}
    }
    return {
        "schema_version": SCHEMA_VERSION,
        "request": public_form(result.request),
        **shared,
        **top,
        "client_limited": result.client_limited,
        "partial": result.is_partial,
        "notes": [reason_form(reason, texts) for reason in result.notes],
        "runs": runs,
    }


def _speed(answer: Answer | None) -> Speed | None:
    return answer.plans[0].speed if answer is not None and answer.plans else None


def _predicted_form(run: LoadResult, answer: Answer | None) -> dict[str, Any] | None:
    """PLAN's speed with the deployment it is for, and each figure beside the measured one."""
    if answer is None or not (answer.plans or answer.rejected):
        return None
    judged = (*answer.plans, *answer.rejected)[0]
    form: dict[str, Any] = {"verdict": str(judged.verdict), "deployment": deployment_form(judged)}
    form |= speed_form(judged.speed) or {}
    if judged.speed is not None:
        form["compared"] = [_compared_form(item) for item in compared(run, judged.speed)]
    return form


def _compared_form(item: Compared) -> dict[str, Any]:
    return {
        "metric": item.metric,
        "predicted": interval_form(item.predicted, digits=4),
        "measured": _rounded(item.measured),
        "difference_pct": _rounded(item.difference_pct),
        "inside": item.is_inside,
    }


def bench_view(result: BenchResult, predictions: Predictions, texts: Texts) -> RenderableType:
    """Tables of every load; the detail of each where they are few, else of the last."""
    title = texts.label(
        "bench_title", model=result.model, url=result.request.url, endpoint=result.endpoint, client=result.client,
        version=result.client_version,
    )  # fmt: skip
    parts: list[RenderableType] = [Text(title, style="bold")]
    if result.is_partial:
        parts.append(Text(texts.label("bench_stopped"), style="yellow"))
    if len(result.runs) > 1:
        parts += [Text(texts.label("bench_sweep"), style="bold"), sweep_rows(result, texts)]
        parts += [Text(texts.label("bench_limited_mark"), style="red")] if result.client_limited else []
    answers = [*predictions, *([None] * len(result.runs))]
    for run, answer in list(zip(result.runs, answers, strict=False))[-_DETAILED:]:
        parts += _run_view(run, answer, texts)
    parts += [indented(f"· {texts.reason(reason)}") for reason in result.notes]
    parts.append(Text(texts.label("bench_definitions"), style="dim"))
    return Group(*parts)


_DETAILED: Final = 3


def _run_view(run: LoadResult, answer: Answer | None, texts: Texts) -> Iterator[RenderableType]:
    yield Text(level_text(run.level, texts), style="bold green" if run.figures.completed else "bold red")
    yield total_rows(run, texts)
    if run.figures.completed:
        yield time_rows(run, texts)
    if run.figures.errors:
        yield Text(texts.label("bench_errors"), style="bold red")
        yield from (indented(line) for line in error_lines(run, texts))
    style = "bold red" if run.client_limited else "dim"
    yield from (indented(line, style=style) for line in calibration_lines(run, texts))
    yield from (indented(f"· {texts.reason(reason)}") for reason in run.notes)
    rows = compared_rows(run, answer, texts)
    if rows is not None:
        yield Text(texts.label("bench_predicted"), style="bold")
        yield rows
    elif answer is not None:
        yield indented(no_prediction(answer, texts))


def total_rows(run: LoadResult, texts: Texts) -> Rows:
    """Totals and rates, named as `vllm bench serve` prints them."""
    seen, level = run.figures, run.level
    amounts: tuple[tuple[str, float | None], ...] = (
        ("bench_completed", seen.completed), ("bench_failed", seen.failed),
        ("bench_max_concurrency", level.concurrency), ("bench_request_rate", level.rate_per_s),
        ("bench_duration", seen.duration_s), ("bench_input_tokens", seen.total_input_tokens),
        ("bench_output_tokens", seen.total_output_tokens), ("bench_request_throughput", seen.request_per_s),
        ("bench_goodput", seen.goodput_per_s), ("bench_output_throughput", seen.output_tok_per_s),
        ("bench_peak_output", seen.peak_output_tok_per_s), ("bench_peak_concurrent", seen.peak_concurrent_requests),
        ("bench_total_throughput", seen.total_tok_per_s),
    )  # fmt: skip
    rows = tuple((texts.label(name), _amount(value)) for name, value in amounts if value is not None)
    return Rows((texts.label("bench_quantity"), ">" + texts.label("bench_value")), rows)


def _amount(value: float | None) -> str:
    if value is None:
        return _NONE
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"


def time_rows(run: LoadResult, texts: Texts) -> Rows:
    """Mean, spread and percentiles in milliseconds."""
    names = ("mean", "std", "p50", "p90", "p99")
    headings = (texts.label("bench_time"), *(">" + texts.label(f"bench_{name}") for name in names))
    found = ((label, getattr(run.figures, field)) for label, field in _TIMES)
    rows = tuple(
        (texts.label(label), *(f"{getattr(times, name):,.2f}" for name in names))
        for label, times in found
        if times is not None
    )
    return Rows(headings, rows)


def sweep_rows(result: BenchResult, texts: Texts) -> Rows:
    """A line a load."""
    times = (("TTFT", "ttft_ms"), ("TPOT", "inter_token_ms"), ("E2EL", "e2e_ms"))
    headings = [texts.label("bench_load"), ">" + texts.label("bench_done"), ">" + texts.label("bench_lost")]
    headings += [">tok/s", ">req/s", *(f">{short} {part}" for short, _ in times for part in ("p50", "p99"))]
    rows = []
    for run in result.runs:
        seen = run.figures
        cells = [
            _short(run) + (" *" if run.client_limited else ""),
            str(seen.completed),
            str(seen.failed),
        ]
        cells += [rate_text(seen.output_tok_per_s) if seen.completed else _NONE, f"{seen.request_per_s:.2f}"]
        for _, field in times:
            found: Summary | None = getattr(seen, field)
            cells += [_NONE] * 2 if found is None else [f"{found.p50:,.1f}", f"{found.p99:,.1f}"]
        rows.append(tuple(cells))
    return Rows(tuple(headings), tuple(rows))


def _short(run: LoadResult) -> str:
    return f"× {run.level.concurrency}" if run.level.rate_per_s is None else f"{run.level.rate_per_s:g} req/s"


def error_lines(run: LoadResult, texts: Texts) -> list[str]:
    """Failures by kind, each with an example."""
    examples = {r.failure.kind: r.failure.detail for r in reversed(run.records) if r.failure is not None}
    return [
        texts.label("bench_error_line", kind=kind, count=count, example=" ".join(examples.get(kind, "").split())[:120])
        for kind, count in run.figures.errors.items()
    ]


def calibration_lines(run: LoadResult, texts: Texts) -> list[str]:
    """What the client makes of known times, and the verdict; nothing where it was not checked."""

    def ms(value: float) -> str:
        return f"{max(0.0, value):.2f}"

    found, late = run.calibration, ms(run.loop_late_ms or 0.0)
    if found is None:
        return [texts.label("bench_limited_late", late=late)] if run.client_limited else []
    line = texts.label(
        "bench_calibration", streams=found.streams, ttft=ms(found.kept_ttft_ms), itl=ms(found.kept_itl_ms),
        seen_ttft=ms(found.seen_ttft_ms), seen_itl=ms(found.seen_itl_ms),
    )  # fmt: skip
    if not run.client_limited:
        return [line, texts.label("bench_not_limited")]
    limited = texts.label("bench_limited", ttft=ms(found.excess_ttft_ms), itl=ms(found.excess_itl_ms), late=late)
    return [limited, line]


def compared_rows(run: LoadResult, answer: Answer | None, texts: Texts) -> Rows | None:
    """Predicted, measured, difference; None without a prediction."""
    speed = _speed(answer)
    items = () if speed is None else compared(run, speed)
    if not items:
        return None
    names = (
        "bench_metric",
        ">bench_prediction",
        ">bench_interval",
        ">bench_measured",
        ">bench_difference",
        "bench_inside",
    )
    headings = tuple(">" * name.startswith(">") + texts.label(name.removeprefix(">")) for name in names)
    rows = []
    for item in items:
        show = seconds_text if item.metric.endswith("_s") and "per" not in item.metric else rate_text
        low, likely, high = (show(value) for value in (item.predicted.low, item.predicted.likely, item.predicted.high))
        difference = _NONE if item.difference_pct is None else f"{item.difference_pct:+.0f} %"
        inside = texts.label("bench_yes" if item.is_inside else "bench_no")
        name = texts.label(f"bench_metric_{item.metric}")
        rows.append((name, likely, f"{low} … {high}", show(item.measured), difference, inside))
    return Rows(headings, tuple(rows))


def no_prediction(answer: Answer, texts: Texts) -> str:
    """Why there is none."""
    if answer.unreadable is not None:
        return texts.label("bench_no_prediction", reason=texts.reason(answer.unreadable))
    judged = (*answer.plans, *answer.rejected)[0]
    said = [texts.reason(reason) for reason in judged.reasons] or [texts.text("verdict", str(judged.verdict))]
    return texts.label("bench_no_prediction", reason=" ".join(said))


def bench_markdown(result: BenchResult, predictions: Predictions, texts: Texts) -> str:
    """The tables as they stand in a terminal."""
    return f"# {texts.label('bench_report')}\n\n```text\n{as_text(bench_view(result, predictions, texts))}```\n"
