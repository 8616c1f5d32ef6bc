"""The evaluation: find the server's model and endpoint, find or install lm_eval, run it, read its scores."""

import asyncio
import threading
from dataclasses import replace
from time import perf_counter
from typing import Final

from fitserve.bench.base_scores import compared_scores
from fitserve.bench.client import PATHS
from fitserve.bench.eval_types import EvalResult
from fitserve.bench.lm_eval import (
    find_program,
    install,
    lm_eval_version,
    progress_in,
    run_lm_eval,
    scores_of,
    task_folders,
)
from fitserve.bench.request import EvalRequest
from fitserve.bench.run import api_key_of
from fitserve.bench.server import ask, name_in_requests, served_models
from fitserve.bench.types import OnProgress, Progress
from fitserve.bench.wire import NotHttp, Wire
from fitserve.foundation.errors import BenchFailed
from fitserve.foundation.reasons import Reason, note

_OK: Final = 200
_ASK_S: Final = 120.0


def run_eval(
    request: EvalRequest, *, on_progress: OnProgress | None = None, cancel: threading.Event | None = None
) -> EvalResult:
    """Scores a server; blocks until it is done, which may be hours. Raises BenchFailed, InputError.

    `on_progress` gets phases `install` (once, when lm_eval has to be installed first) and `eval`. `cancel` stops lm_eval;
    nothing is scored then.
    """
    key = api_key_of(request)
    task_folders(request)  # what is missing is said before anything is installed
    model, endpoint = asyncio.run(_reached(request, key))
    program = find_program(request)
    shown = Progress(phase="eval")
    if program is None:
        if on_progress is not None:
            on_progress(replace(shown, phase="install"))
        program = install(cancel)
    began = perf_counter()

    def told(line: str) -> None:
        found = progress_in(line)
        if found is not None and on_progress is not None:
            on_progress(replace(shown, done=found[0], total=found[1], elapsed_s=perf_counter() - began))

    found, argv = run_lm_eval(request, program, model, endpoint, key, told, cancel)
    scores = scores_of(found)
    notes: list[Reason] = [note("eval_chat_limit")] if endpoint == "chat" else []
    return EvalResult(
        request=request, model=model, endpoint=endpoint, version=str(found.get("lm_eval_version", lm_eval_version())),
        argv=argv, seconds=perf_counter() - began, scores=scores,
        comparisons=compared_scores(request, model, endpoint, scores), notes=tuple(notes),
    )  # fmt: skip


async def _reached(request: EvalRequest, key: str | None) -> tuple[str, str]:
    """(model, endpoint) that answer. Raises BenchFailed where none does."""
    wire = Wire(request.url, key)
    try:
        listed = await served_models(wire, request.url, request.timeout)
        model = name_in_requests(request.url, request.model, request.served_model, listed)
        wanted = ("completions", "chat") if request.endpoint == "auto" else (request.endpoint,)
        status, answer = 0, None
        for endpoint in wanted:
            body = {"model": model, "max_tokens": 1}
            said = {"prompt": "1"} if endpoint == "completions" else {"messages": [{"role": "user", "content": "1"}]}
            status, answer = await ask(wire, "POST", PATHS[endpoint], body | said, min(_ASK_S, request.timeout))
            if status == _OK:
                return model, endpoint
    except TimeoutError as error:
        raise BenchFailed.of("bench_no_answer", url=request.url, seconds=min(_ASK_S, request.timeout)) from error
    except (OSError, NotHttp) as error:
        raise BenchFailed.of("bench_unreachable", url=request.url, detail=str(error)) from error
    finally:
        await wire.aclose()
    detail = str(answer)[:300]
    raise BenchFailed.of("bench_refused", url=request.url, model=model, status=status, detail=detail)
