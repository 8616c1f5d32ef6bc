"""A measured run as evidence cases, to be shared: what was served, the load, what was measured; nothing of its owner."""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from fitserve.ledger.types import Kind, Run

SCHEMA = "fitserve-evidence/1"
_TIMES = ("ttft_ms", "inter_token_ms", "e2e_ms")
_PERCENTILES = ("mean", "p50", "p90", "p99")


def cases_of(run: Run, server: Run | None, cpu_name: str | None) -> list[dict[str, Any]]:
    """A case for each load of a bench of a server whose deployment is known; none for any other run.

    Loads that failed in part, or that the client could not make, are left out.
    """
    deployment: Mapping[str, Any] = (server.deployment or {}) if server is not None else {}
    result: Mapping[str, Any] = run.result or {}
    if run.kind is not Kind.BENCH or not deployment:
        return []
    cases = []
    for index, load in enumerate(result.get("runs") or [result]):
        if load.get("client_limited") or load.get("failed") or not load.get("completed"):
            continue
        cases.append(
            {
                "id": f"run-{int(run.started_s)}-{run.id}-{index + 1}",
                "kind": "serving_speed",
                "source": {
                    "url": "fitserve bench",
                    "licence": "CC0-1.0",
                    "redistributable": True,
                    "note": f"measured by fitserve, {result.get('client', 'builtin')} client, {result.get('started', '')}",
                },
                "given": _given(deployment, load, cpu_name),
                "measured": _measured(load),
                "doubt": None,
            }
        )
    return cases


def _given(deployment: Mapping[str, Any], load: Mapping[str, Any], cpu_name: str | None) -> dict[str, Any]:
    gpus = deployment.get("gpus") or []
    model = str(deployment["model"])
    given: dict[str, Any] = {
        "engine": deployment["engine"], "engine_version": deployment["engine_version"],
        "model": PurePath(model).name if model.startswith(("/", ".")) else model,
        "weight_format": deployment["weight_format"], "tp": deployment["tp"], "pp": deployment["pp"],
        "context_tokens": deployment["context_tokens"], "prompt_tokens": load.get("prompt_tokens_mean"),
        "output_tokens": load.get("output_tokens_mean"), "num_prompts": load["completed"], "dataset": "random",
    }  # fmt: skip
    given |= {"gpu": gpus[0]["gpu"], "gpu_count": gpus[0]["count"]} if gpus else {"cpu": cpu_name}
    given |= {"kv_format": deployment["kv_format"]} if deployment["kv_format"] != "auto" else {}
    rate = load.get("rate_per_s")
    return given | ({"rate": rate} if rate else {"concurrency": load.get("concurrency")})


def _measured(load: Mapping[str, Any]) -> dict[str, Any]:
    measured: dict[str, Any] = {
        "output_tok_per_s": load["output_tok_per_s"],
        "total_tok_per_s": load["total_tok_per_s"],
    }
    for name in _TIMES:
        if isinstance(times := load.get(name), Mapping):
            measured[name] = {key: times[key] for key in _PERCENTILES if times.get(key) is not None}
    return measured
