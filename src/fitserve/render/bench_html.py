"""A benchmark as one HTML file, or as SVG: nothing is loaded from anywhere, the same result gives the same bytes."""

from collections.abc import Iterator
from html import escape
from typing import Final

from fitserve.bench.types import BenchResult, LoadResult
from fitserve.render.bench import (
    Predictions,
    calibration_lines,
    compared_rows,
    error_lines,
    level_text,
    no_prediction,
    sweep_rows,
    time_rows,
    total_rows,
)
from fitserve.render.layout import Rows
from fitserve.render.svg_plots import Bar, Series, line_plot, stacked, timeline
from fitserve.render.texts import Texts

_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c2733;background:#fff}"
    "table{border-collapse:collapse;margin:.6rem 0}th,td{padding:.2rem .7rem;border-bottom:1px solid #d5dbe1;"
    "text-align:left}td.f,th.f{text-align:right;font-variant-numeric:tabular-nums}svg{max-width:100%;height:auto}"
    ".limited{color:#d0343f;font-weight:bold}.dim{color:#66717d}"
    "@media(prefers-color-scheme:dark){body{color:#e3e8ed;background:#14191f}th,td{border-color:#37414c}}"
)


def bench_html(result: BenchResult, predictions: Predictions, texts: Texts) -> str:
    """The report: tables, plots, definitions."""
    title = texts.label(
        "bench_title", model=result.model, url=result.request.url, endpoint=result.endpoint, client=result.client,
        version=result.client_version,
    )  # fmt: skip
    parts = [f"<h1>{escape(texts.label('bench_report'))}</h1>", _paragraph(f"{title}, {result.started}")]
    if result.is_partial:
        parts.append(_paragraph(texts.label("bench_stopped"), "limited"))
    if len(result.runs) > 1:
        parts += [_heading(texts.label("bench_sweep")), _table(sweep_rows(result, texts)), _latency(result, texts)]
    answers = [*predictions, *([None] * len(result.runs))]
    for run, answer in zip(result.runs, answers, strict=False):
        parts += [_heading(level_text(run.level, texts)), *_run(run, texts)]
        rows = compared_rows(run, answer, texts)
        if rows is not None:
            parts += [f"<h3>{escape(texts.label('bench_predicted'))}</h3>", _table(rows)]
        elif answer is not None:
            parts.append(_paragraph(no_prediction(answer, texts)))
    parts += [_paragraph(texts.reason(reason)) for reason in result.notes]
    parts.append(_paragraph(texts.label("bench_definitions"), "dim"))
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    language = f'<html lang="{texts.language}">'
    return "\n".join(["<!doctype html>", language, f"<head>{head}<style>{_STYLE}</style></head>", "<body>", *parts]) + (
        "\n</body>\n</html>\n"
    )


def bench_svg(result: BenchResult, texts: Texts) -> str:
    """The plots alone: latency over the load, and the requests of every load."""
    plots = [_latency(result, texts)] if len(result.runs) > 1 else []
    plots += [_timeline(run, texts) for run in result.runs if run.records]
    return stacked(plots or [_latency(result, texts)])


def _heading(text: str) -> str:
    return f"<h2>{escape(text)}</h2>"


def _paragraph(text: str, kind: str = "") -> str:
    return f"<p{f' class={kind!r}' if kind else ''}>{escape(text)}</p>"


def _table(rows: Rows) -> str:
    figure = [' class="f"' if heading.startswith(">") else "" for heading in rows.headings]
    heads = (f"<th{kind}>{escape(h.removeprefix('>'))}</th>" for h, kind in zip(rows.headings, figure, strict=True))
    lines = [f"<tr>{''.join(heads)}</tr>"]
    for row in rows.rows:
        cells = "".join(f"<td{kind}>{escape(cell)}</td>" for cell, kind in zip(row, figure, strict=True))
        lines.append(f"<tr>{cells}</tr>")
    return "<table>\n" + "\n".join(lines) + "\n</table>"


def _run(run: LoadResult, texts: Texts) -> Iterator[str]:
    yield _table(total_rows(run, texts))
    if run.figures.completed:
        yield _table(time_rows(run, texts))
    for line in error_lines(run, texts):
        yield _paragraph(line, "limited")
    for line in calibration_lines(run, texts):
        yield _paragraph(line, "limited" if run.client_limited else "dim")
    for reason in run.notes:
        yield _paragraph(texts.reason(reason))
    if run.records:
        yield _timeline(run, texts)


def _latency(result: BenchResult, texts: Texts) -> str:
    """Medians over concurrency, or over the rate where that is what changes."""
    by_rate = all(run.level.rate_per_s is not None for run in result.runs)
    title = texts.label("bench_plot_latency_rate" if by_rate else "bench_plot_latency")
    axis = texts.label("bench_axis_rate" if by_rate else "bench_axis_concurrency")
    names = (("TTFT p50", "ttft_ms"), ("TPOT p50", "inter_token_ms"), ("E2EL p50", "e2e_ms"))
    series = []
    for name, field in names:
        points = []
        for run in result.runs:
            x = run.level.rate_per_s if by_rate else run.level.concurrency
            found = getattr(run.figures, field)
            if found is not None and x is not None:
                points.append((float(x), float(found.p50)))
        series.append(Series(name, tuple(points)))
    return line_plot(title, axis, "ms", series)


def _timeline(run: LoadResult, texts: Texts) -> str:
    bars = []
    for record in run.records:
        ends = record.chunk_s or (record.end_s, record.end_s)
        start, is_good = record.start_s, record.failure is None
        last = start + (ends[-1] if is_good else record.end_s)
        bars.append(Bar(start, start + ends[0], last, is_good))
    title = f"{texts.label('bench_plot_timeline')}: {level_text(run.level, texts)}"
    return timeline(title, texts.label("bench_axis_time"), bars)
