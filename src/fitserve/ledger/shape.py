"""A run in short: what was asked, what came of it. The same for the list, the report and the export."""

from collections.abc import Mapping
from typing import Any

from fitserve.ledger.types import Kind, Run


def run_form(run: Run, is_whole: bool = False) -> dict[str, Any]:
    """JSON of a run; `is_whole` adds what it was told and the end of its log."""
    form: dict[str, Any] = {
        "run": run.id, "kind": run.kind.value, "state": run.state.value, "title": run.title, "parent": run.parent,
        "started_s": run.started_s, "ended_s": run.ended_s, "duration_s": duration_s(run), "figures": figures(run),
        "cause": None if run.cause is None else run.cause.get("code"),
    }  # fmt: skip
    if is_whole:
        form |= {
            "request": run.request, "deployment": run.deployment, "command": run.command, "process": run.process,
            "result": run.result, "diagnosis": run.cause, "log_tail": (run.log_tail or "").splitlines(),
        }  # fmt: skip
    return form


def duration_s(run: Run) -> float | None:
    """Seconds from begin to end; None while it runs."""
    return None if run.ended_s is None else round(run.ended_s - run.started_s, 1)


def figures(run: Run) -> dict[str, Any]:
    """The few figures of a result by kind; empty where there are none."""
    result: Mapping[str, Any] = run.result or {}
    if run.kind is Kind.BENCH:
        point = (result.get("runs") or [result])[-1]
        names = ("concurrency", "output_tok_per_s", "total_tok_per_s", "completed", "failed")
        found = {name: point.get(name) for name in names if point.get(name) is not None}
        for name in ("ttft_ms", "inter_token_ms"):
            if isinstance(point.get(name), Mapping):
                found[name] = point[name].get("mean")
        return found
    if run.kind is Kind.SERVE:
        memory = result.get("memory") or {}
        return {
            name: value
            for name, value in (("ready_s", result.get("ready_s")), ("resident_bytes", memory.get("resident_bytes")))
            if value is not None
        }
    if run.kind is Kind.EVAL:
        return {"scores": result.get("scores") or result.get("results")} if result else {}
    return {name: result[name] for name in ("verdict", "plans", "agrees") if name in result}
