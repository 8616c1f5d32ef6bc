"""A load test of our own server: predicted without being told, kept, exported, and felt by the next prediction."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from conftest import Ran
from fitserve.bench.request import BenchRequest
from fitserve.cli.bench_ledger import with_own_server
from fitserve.evidence.cases import cases_of as read_cases
from fitserve.foundation.intervals import Interval
from fitserve.ledger.export import cases_of
from fitserve.ledger.store import Ledger
from fitserve.ledger.types import Kind, Run
from fitserve.plan.answer import estimate
from fitserve.plan.here import is_here, measured_form, measured_of, measured_rows
from fitserve.plan.request import EstimateRequest
from fitserve.plan.world import World

_DEPLOYMENT = {
    "model": "Qwen/Qwen3-8B", "engine": "vllm", "engine_version": "0.33.0", "weight_format": "bf16", "kv_format": "auto",
    "gpus": [{"gpu": "rtx-4090", "count": 1}], "tp": 1, "pp": 1, "context_tokens": 8192, "concurrent_requests": 4,
}  # fmt: skip


def server() -> Run:
    ledger = Ledger()
    begun = ledger.begin(Kind.SERVE, "Qwen3 8B", deployment=_DEPLOYMENT)
    return ledger.update(begun.id, state="ready", process={"port": 8000, "model": "Qwen/Qwen3-8B"})


def load(**changes: Any) -> dict[str, Any]:
    usual = {
        "concurrency": 4, "completed": 16, "failed": 0, "output_tok_per_s": 300.0, "total_tok_per_s": 900.0,
        "prompt_tokens_mean": 512.0, "output_tokens_mean": 128.0, "ttft_ms": {"mean": 80.0, "p50": 70.0},
        "inter_token_ms": {"mean": 12.0}, "client_limited": False,
    }  # fmt: skip
    return usual | changes


def test_the_deployment_of_our_server_is_taken_unless_a_machine_is_named() -> None:
    plain = BenchRequest.read(url="http://127.0.0.1:8000")
    filled = with_own_server(plain, server())
    assert (filled.model, filled.engine, filled.format, filled.context) == ("Qwen/Qwen3-8B", "vllm", "bf16", 8192)
    assert filled.is_predicted
    named = BenchRequest.read(url="http://127.0.0.1:8000", gpu=("a100-sxm-80gb",))
    assert with_own_server(named, server()) == named
    assert with_own_server(plain, None) == plain


def test_a_load_test_is_exported_as_cases_that_are_read_again(tmp_path: Any) -> None:
    import json

    ours = server()
    result = {"client": "builtin", "started": "2026-11-20", "runs": [load(), load(failed=1), load(client_limited=True)]}
    run = Ledger().add(Kind.BENCH, "Qwen3 8B", result, parent=ours.id)
    cases = cases_of(run, ours, "A CPU")
    assert len(cases) == 1
    assert cases[0]["given"]["gpu"] == "rtx-4090"
    path = tmp_path / "cases.json"
    path.write_text(json.dumps({"schema": "fitserve-evidence/1", "cases": cases}), encoding="utf-8")
    assert read_cases([str(path)])[0].figures()["ttft_ms.mean"] == 80.0
    assert cases_of(run, None, None) == []
    assert cases_of(replace(run, kind=Kind.PLAN), ours, None) == []


def test_what_was_measured_here_changes_the_next_prediction_here_only(cli: Callable[..., Ran]) -> None:
    from fitserve.cli.verbs import world
    from fitserve.hardware.processors import measured_processor
    from fitserve.hardware.types import Host, Machine

    machine = Machine(devices=(), host=Host(ram_bytes=1 << 36, processor=measured_processor(4e10, 8, ("AVX2",))))
    asked = EstimateRequest.read(
        model="Qwen/Qwen3-8B", gpu=("none",), engine=("llama.cpp",), format="Q4_K_M", concurrency=1
    )
    here: World = replace(world(), this_machine=lambda: machine, measured=None)
    item = estimate(asked, here, simulates=False).plans[0]
    assert item.speed is not None
    seen = {"inter_token_s": item.speed.inter_token_s.likely * 2, "ttft_s": None}
    rows = [measured_of(measured_form(row)) for row in measured_rows(item.deployment, item.speed, seen, 7)]
    assert [row.metric for row in rows] == ["inter_token_s"]
    again = estimate(asked, replace(here, measured=lambda: tuple(rows)), simulates=False).plans[0]
    assert again.speed is not None
    ratio = again.speed.inter_token_s.likely / item.speed.inter_token_s.likely
    assert 1.5 < ratio < 2.0
    assert again.speed.ttft_s == item.speed.ttft_s
    assert any(reason.code == "speed_corrected" for reason in again.speed.reasons)
    assert isinstance(again.speed.inter_token_s, Interval)
    assert not is_here(EstimateRequest.read(model="x", gpu=("rtx-4090",)))
    assert not is_here(EstimateRequest.read(model="x", gpu=("none",), ram="64"))


def test_corrections_are_shown_and_removed(cli: Callable[..., Ran]) -> None:
    row = {
        "engine": "vllm", "deployment": "a", "metric": "ttft_s", "measured": 0.2, "run": 1,
        "predicted": {"low": 0.05, "likely": 0.1, "high": 0.3},
    }  # fmt: skip
    Ledger().keep_correction("1.1.ttft_s", row)
    assert cli("runs", "corrections", "--json").json()["corrections"][0]["name"] == "1.1.ttft_s"
    assert "×2.00" in cli("runs", "corrections", "--lang", "ko").out
    assert cli("runs", "drop", "other").code == 2
    assert cli("runs", "drop", "all").code == 0
    assert cli("runs", "corrections", "--json").json()["corrections"] == []
    with pytest.raises(KeyError):
        Ledger().corrections()["1.1.ttft_s"]
