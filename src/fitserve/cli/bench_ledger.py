"""A load test in the ledger: which of our servers it measured, what it says of the prediction for this machine."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from fitserve.bench.request import BenchRequest
from fitserve.bench.types import BenchResult, LoadResult
from fitserve.foundation.errors import WorldError
from fitserve.launch.session import reconciled
from fitserve.ledger.store import Ledger
from fitserve.ledger.types import Kind, Run
from fitserve.plan.answer import Answer
from fitserve.plan.here import measured_form, measured_rows

_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_MACHINE = ("gpu", "engine", "format", "ram", "context", "model")


def own_server(url: str) -> Run | None:
    """The server of this user's ledger that listens at an address; None for any other."""
    parts = urlsplit(url)
    if parts.hostname not in _LOOPBACK:
        return None
    try:
        runs = reconciled(Ledger()) if Ledger().path.exists() else ()
    except WorldError:
        return None  # a load test needs no ledger
    return next((run for run in runs if (run.process or {}).get("port") == parts.port), None)


def with_own_server(request: BenchRequest, run: Run | None) -> BenchRequest:
    """The request with the deployment of the server that we started, unless it names a machine itself."""
    deployment: Mapping[str, Any] = (run.deployment or {}) if run is not None else {}
    if not deployment or any(getattr(request, name) for name in _MACHINE):
        return request
    process = (run.process or {}) if run is not None else {}
    changed: dict[str, Any] = {
        "model": deployment["model"], "served_model": request.served_model or process.get("model"),
        "engine": deployment["engine"], "engine_version": deployment["engine_version"],
        "format": deployment["weight_format"], "context": deployment["context_tokens"],
        "gpu": () if deployment["gpus"] else ("none",),
    }  # fmt: skip
    if deployment["kv_format"] != "auto":
        changed["kv_format"] = deployment["kv_format"]
    return request.model_copy(update=changed)


def keep_bench(
    result: BenchResult, form: Mapping[str, Any], predictions: Sequence[Answer | None], server: Run | None
) -> Run | None:
    """The row of a load test, and the corrections that follow from it. `predictions` are those without corrections.

    Only loads of a server of ours count, whose deployment is known, and that the client could make.
    """
    ledger = Ledger()
    title = result.model if server is None else server.title
    try:
        run = ledger.add(Kind.BENCH, title, form, parent=None if server is None else server.id)
        if server is not None and not result.is_partial:
            for index, (load, answer) in enumerate(zip(result.runs, predictions, strict=False)):
                _correct(ledger, run.id, index, load, answer)
    except WorldError as error:
        print(f"! {error}", file=sys.stderr)
        return None
    return run


def _correct(ledger: Ledger, run_id: int, index: int, load: LoadResult, answer: Answer | None) -> None:
    speed = answer.plans[0].speed if answer is not None and answer.plans else None
    if answer is None or speed is None or load.client_limited or load.figures.failed:
        return
    seen = load.figures
    found = {
        "ttft_s": None if seen.ttft_ms is None else seen.ttft_ms.mean / 1000,
        "inter_token_s": None if seen.inter_token_ms is None else seen.inter_token_ms.mean / 1000,
        "output_tok_per_s": seen.output_tok_per_s,
    }
    for row in measured_rows(answer.plans[0].deployment, speed, found, run_id):
        ledger.keep_correction(f"{run_id}.{index + 1}.{row.metric}", measured_form(row))
