"""`fitserve bench`: a load on a running server, with a prediction beside it where a machine is named."""

import contextlib
import json
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from fitserve.bench.request import BenchRequest
from fitserve.bench.run import levels_of, run_bench
from fitserve.bench.types import BenchResult, Level, OnProgress
from fitserve.bench.types import Progress as Seen
from fitserve.bench.vllm_form import vllm_form
from fitserve.cli.bench_ledger import keep_bench, own_server, with_own_server
from fitserve.cli.output import save
from fitserve.cli.verbs import world
from fitserve.foundation.errors import InputError
from fitserve.plan.answer import Answer, estimate
from fitserve.plan.request import EstimateRequest
from fitserve.plan.world import World
from fitserve.render.bench import Predictions, bench_form, bench_markdown, bench_view, level_text
from fitserve.render.bench_dry import dry_form, dry_view
from fitserve.render.bench_html import bench_html, bench_svg
from fitserve.render.tables import as_text, print_view
from fitserve.render.texts import Texts

_ENDINGS: Final = (".json", ".md", ".html", ".svg", ".txt")
_USUAL_CONTEXT: Final = 8192
_WORLD_FAILED: Final = 3


def run_bench_verb(values: dict[str, Any], texts: Texts) -> int:
    """`fitserve bench URL`."""
    out, as_json = values.get("out"), bool(values.get("json"))
    request = BenchRequest.read(**{key: value for key, value in values.items() if key not in {"json", "out", "lang"}})
    server = own_server(request.url)
    request = with_own_server(request, server)
    _check(request, out)
    _predictions(request, None)  # what cannot be predicted is said before the load, not after it
    if request.dry_run:
        _print(lambda: dry_form(request, texts), lambda: dry_view(request, texts), as_json)
        return 0
    with interruptible() as cancel, progress_bar(texts, as_json) as told:
        result = run_bench(request, on_progress=told, cancel=cancel)
    predictions = _predictions(request, result)
    plain = _predictions(request, result, replace(world(), measured=None))
    keep_bench(result, bench_form(result, predictions, texts), plain, server)
    if out is not None:
        save(Path(out), _content(Path(out).suffix.lower(), result, predictions, texts))
    _print(lambda: bench_form(result, predictions, texts), lambda: bench_view(result, predictions, texts), as_json)
    done = sum(run.figures.completed for run in result.runs)
    return _WORLD_FAILED if result.is_partial or not done else 0


def _check(request: BenchRequest, out: str | None) -> None:
    if out is not None and Path(out).suffix.lower() not in _ENDINGS:
        raise InputError.of("out_kind_unknown", given=out, known=_ENDINGS)
    if request.result_format == "vllm" and (out is None or Path(out).suffix.lower() != ".json"):
        raise InputError.of("vllm_form_needs_json")


def _print(form: Any, view: Any, as_json: bool) -> None:
    if as_json:
        print(json.dumps(form(), ensure_ascii=False, indent=2))
    else:
        print_view(view())


def _content(ending: str, result: BenchResult, predictions: Predictions, texts: Texts) -> str:
    if ending == ".json" and result.request.result_format == "vllm":
        runs = [vllm_form(result, run) for run in result.runs]
        return json.dumps(runs[0] if len(runs) == 1 else runs) + "\n"
    if ending == ".json":
        form = bench_form(result, predictions, texts, with_requests=True)
        return json.dumps(form, ensure_ascii=False, indent=1) + "\n"
    if ending == ".html":
        return bench_html(result, predictions, texts)
    if ending == ".svg":
        return bench_svg(result, texts)
    if ending == ".md":
        return bench_markdown(result, predictions, texts)
    return as_text(bench_view(result, predictions, texts))


def _predictions(request: BenchRequest, result: BenchResult | None, outside: World | None = None) -> Predictions:
    """One estimate a level; for the lengths that were measured where there is a result."""
    if not request.is_predicted:
        return ()
    here = outside or world()
    if result is None:
        return tuple(_estimate(request, level, None, None, request.model, here) for level in levels_of(request)[:1])
    model = request.model or result.model
    return tuple(
        _estimate(request, run.level, run.prompt_tokens_mean, run.output_tokens_mean, model, here)
        for run in result.runs
    )


def _estimate(
    request: BenchRequest, level: Level, prompt: float | None, output: float | None, model: str | None, here: World
) -> Answer | None:
    if model is None:
        return None  # the server is asked for it first
    prompt_tokens = round(prompt) if prompt else request.prompt_tokens
    output_tokens = round(output) if output else request.output_tokens
    context = request.context
    if context is None and (prompt_tokens or 0) + (output_tokens or 0) > _USUAL_CONTEXT:
        context = (prompt_tokens or 0) + (output_tokens or 0)
    fields: dict[str, Any] = {
        "model": model, "gpu": request.gpu, "ram": request.ram, "engine": request.engine, "format": request.format,
        "engine_version": request.engine_version, "kv_format": request.kv_format, "context": context, "tp": request.tp,
        "pp": request.pp, "offload": request.offload, "prompt_tokens": prompt_tokens, "output_tokens": output_tokens,
    }  # fmt: skip
    if level.rate_per_s is not None:
        fields["rate"] = level.rate_per_s
    else:
        fields["concurrency"] = level.concurrency
    return estimate(EstimateRequest.read(**fields), here, simulates=False)


@contextlib.contextmanager
def interruptible() -> Iterator[threading.Event]:
    """An event that Ctrl-C sets, so that what was measured until then is not lost; a second Ctrl-C ends at once."""
    cancel = threading.Event()

    def stop(_number: int, _frame: Any) -> None:
        if cancel.is_set():
            raise KeyboardInterrupt
        cancel.set()

    if threading.current_thread() is not threading.main_thread():
        yield cancel
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield cancel
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def progress_bar(texts: Texts, as_json: bool) -> Iterator[OnProgress | None]:
    """A bar on standard error, drawn only when told: a thread that draws would be measured with the server."""
    console = Console(file=sys.stderr)
    if as_json or not console.is_terminal:
        yield None
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as bar:
        task = bar.add_task("", total=None)

        def told(seen: Seen) -> None:
            load = "" if seen.level is None else level_text(seen.level, texts)
            text = seen.text or texts.label(
                "bench_progress", phase=texts.label(f"bench_phase_{seen.phase}"), load=load, done=seen.done,
                total=seen.total, failed=seen.failed,
            )  # fmt: skip
            bar.update(task, description=text, completed=seen.done, total=seen.total or None)
            bar.refresh()

        yield told
