"""Other load generators: their commands, and their results read into the form of our own."""

import itertools
import json
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from bench_servers import good, server
from fitserve.bench.external import client_argv
from fitserve.bench.figures import Targets, figures
from fitserve.bench.request import BenchRequest
from fitserve.bench.run import run_bench
from fitserve.bench.types import BenchResult, Level, LoadResult
from fitserve.bench.vllm_form import vllm_form
from fitserve.foundation.errors import BenchFailed, InputError
from test_bench_figures import RECORDS, result_of

AIPERF: dict[str, Any] = {
    "aiperf_version": "0.13.0",
    "request_count": {"unit": "requests", "avg": 12.0},
    "error_request_count": {"unit": "requests", "avg": 2.0},
    "good_request_count": {"unit": "requests", "avg": 9.0},
    "benchmark_duration": {"unit": "sec", "avg": 0.5},
    "total_isl": {"unit": "tokens", "avg": 240.0},
    "total_output_tokens": {"unit": "tokens", "avg": 120.0},
    "time_to_first_token": {"unit": "ms", "avg": 108.1, "p50": 110.0, "p90": 112.6, "p99": 112.7, "std": 4.0, "count": 12},
    "inter_token_latency": {"unit": "ms", "avg": 10.3, "p50": 10.2, "p90": 10.6, "p99": 10.7, "std": 0.3, "count": 12},
    "inter_chunk_latency": {"unit": "ms", "avg": 10.2, "p50": 10.1, "p90": 14.1, "p99": 16.7, "std": 2.6, "count": 108},
    "request_latency": {"unit": "ms", "avg": 200.6, "p50": 200.1, "p90": 208.0, "p99": 208.1, "std": 5.9, "count": 12},
}  # fmt: skip
"""Keys and units as aiperf 0.13.0 wrote them against the mock server."""


def fake(folder: Path, flag: str, name: str, content: Any, extra: str = "") -> str:
    path = folder / "client"
    body = (
        f"p = pathlib.Path(sys.argv[sys.argv.index({flag!r}) + 1]) / {name!r}\np.write_text({json.dumps(content)!r})\n"
    )
    path.write_text(f"#!{sys.executable}\nimport pathlib, sys, time\n{extra}\n{body}")
    path.chmod(0o755)
    return str(path)


def measured(client: str, program: str, **fields: Any) -> BenchResult:
    with server(good) as served:
        return run_bench(BenchRequest.read(url=served.base, client=client, client_path=program, **fields))


def test_vllms_detailed_result_gives_the_same_figures(tmp_path: Path) -> None:
    run = LoadResult(level=Level(concurrency=2), figures=figures(RECORDS, 4.0, Targets()), records=RECORDS)
    program = fake(tmp_path, "--result-dir", "result.json", vllm_form(result_of(run), run))
    found = measured("vllm", program, concurrency="2", ttft="700ms").runs[0].figures
    wanted = figures(RECORDS, 4.0, Targets(ttft_s=0.7))
    assert (found.completed, found.failed, found.good) == (3, 1, wanted.good)
    for name in ("ttft_ms", "inter_token_ms", "itl_ms", "e2e_ms"):
        assert getattr(found, name).mean == pytest.approx(getattr(wanted, name).mean)
        assert getattr(found, name).p99 == pytest.approx(getattr(wanted, name).p99)
    assert (
        found.output_tok_per_s == wanted.output_tok_per_s
        and found.peak_output_tok_per_s == wanted.peak_output_tok_per_s
    )


def test_the_summary_of_aiperf_is_read(tmp_path: Path) -> None:
    program = fake(tmp_path, "--artifact-dir", "profile_export_aiperf.json", AIPERF)
    result = measured("aiperf", program, concurrency="4", ttft="1s")
    seen = result.runs[0].figures
    assert (seen.completed, seen.failed, seen.good, dict(seen.errors)) == (12, 2, 9, {"client": 2})
    assert seen.ttft_ms is not None and seen.inter_token_ms is not None and seen.itl_ms is not None
    assert (seen.ttft_ms.mean, seen.inter_token_ms.mean, seen.itl_ms.count) == (108.1, 10.3, 108)
    assert (seen.output_tok_per_s, seen.total_tok_per_s) == (240.0, 720.0) and result.client_version == "0.13.0"
    assert {reason.code for reason in result.runs[0].notes} == {"bench_client_figures"}


def _code(client: str, program: str, **fields: Any) -> str:
    with pytest.raises(BenchFailed) as failed:
        measured(client, program, **fields)
    assert failed.value.problem is not None
    return failed.value.problem.code


def test_a_client_that_fails_is_one_clear_message(tmp_path: Path) -> None:
    assert _code("vllm", str(tmp_path / "none")) == "client_missing"
    crash = "raise ValueError('no tokenizer')"
    assert _code("aiperf", fake(tmp_path, "--artifact-dir", "x", {}, crash)) == "client_failed"
    for content in ({}, [], {"duration": "x", "start_times": []}):
        assert _code("vllm", fake(tmp_path, "--result-dir", "result.json", content)) == "client_result_missing"
    assert _code("vllm", fake(tmp_path, "--result-dir", "other.json", {})) == "client_result_missing"


def test_a_client_is_stopped(tmp_path: Path) -> None:
    cancel = threading.Event()
    program = fake(tmp_path, "--result-dir", "result.json", {}, "print('on my way', flush=True); time.sleep(100)")
    with server(good) as served:
        request = BenchRequest.read(url=served.base, client="vllm", client_path=program)
        result = run_bench(request, on_progress=lambda seen: cancel.set() if seen.text else None, cancel=cancel)
    assert result.is_partial and not result.runs


def test_the_commands() -> None:
    usual: dict[str, Any] = {
        "url": "http://h:1",
        "num_prompts": 9,
        "prompt_tokens": 100,
        "output_tokens": 20,
        "seed": 5,
    }
    request = BenchRequest.read(
        **usual, client="vllm", rate="2.5", burstiness=0.5, concurrency="3", length_spread="20%", ttft="1s", inter_token="50ms",
        served_model="s", tokenizer="/t",
    )  # fmt: skip
    argv = client_argv(request, Level(concurrency=3, rate_per_s=2.5), 1, "s", "/out")
    for pair in (
        ("--base-url", "http://h:1"), ("--served-model-name", "s"), ("--model", "/t"), ("--random-range-ratio", "0.2"),
        ("--request-rate", "2.5"), ("--burstiness", "0.5"), ("--max-concurrency", "3"), ("--seed", "6"),
        ("--num-prompts", "9"), ("--goodput", "ttft:1000"), ("--result-dir", "/out"),
    ):  # fmt: skip
        assert pair in itertools.pairwise(argv), pair
    assert "tpot:50" in argv and "--ignore-eos" in argv
    other = client_argv(request.model_copy(update={"client": "aiperf"}), Level(concurrency=3), 0, "s", "/out")
    assert ("--goodput", "time_to_first_token:1000 inter_token_latency:50") in itertools.pairwise(other)
    for field in ({"data": "x"}, {"extra_body": "{}"}, {"dataset": "conversations"}):
        with pytest.raises(InputError):
            client_argv(BenchRequest.read(**usual, client="vllm", **field), Level(concurrency=1), 0, "m", "/out")
