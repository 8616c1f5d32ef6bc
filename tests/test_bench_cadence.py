"""Against a server of known times the client reports them, or says that it cannot."""

import json
import time
import urllib.request
from collections.abc import Callable

import pytest

from bench_servers import Answer, good, server
from conftest import Ran
from fitserve.bench.calibration import mock_server
from fitserve.bench.request import BenchRequest
from fitserve.bench.run import run_bench
from fitserve.bench.types import LoadResult
from fitserve.bench.vllm_form import vllm_form

_TRIES = 6
_TOKENS = 24


def measured(base: str, streams: int, ttft_s: float, itl_s: float, endpoint: str) -> tuple[LoadResult, float, float]:
    """The run, and the times that the mock really kept: on a busy machine it is late as well, and it counts how much."""
    request = BenchRequest.read(
        url=base, concurrency=str(streams), num_prompts=2 * streams, prompt_tokens=8, output_tokens=_TOKENS,
        endpoint=endpoint, warmup=0, extra_body=json.dumps({"mock": {"ttft_s": ttft_s, "itl_s": itl_s}}),
    )  # fmt: skip
    run = run_bench(request).runs[0]
    assert run.figures.completed == 2 * streams and not run.figures.errors
    assert run.figures.total_output_tokens == 2 * streams * _TOKENS and run.calibration is not None
    with urllib.request.urlopen(f"{base}/stats", timeout=10) as answer:
        late = json.load(answer)
    return run, ttft_s + late["first_late_s"], itl_s + (late["last_late_s"] - late["first_late_s"]) / (_TOKENS - 1)


@pytest.mark.slow  # tests beside it would be measured as well
@pytest.mark.parametrize(
    ("streams", "ttft_s", "itl_s", "tolerance", "endpoint"),
    [(1, 0.1, 0.01, 0.02, "chat"), (64, 0.3, 0.02, 0.02, "completions"), (512, 0.5, 0.06, 0.10, "completions")],
)
def test_known_times_are_reported(streams: int, ttft_s: float, itl_s: float, tolerance: float, endpoint: str) -> None:
    """A busy machine may spoil a run; then the client has to say so. One clean run at least has to be right."""
    seen = []
    with mock_server() as base:
        for _ in range(_TRIES):
            run, kept_ttft_s, kept_itl_s = measured(base, streams, ttft_s, itl_s, endpoint)
            assert run.figures.ttft_ms is not None and run.figures.itl_ms is not None
            errors = (
                run.figures.ttft_ms.mean / (1000 * kept_ttft_s) - 1,
                run.figures.itl_ms.mean / (1000 * kept_itl_s) - 1,
            )
            seen.append((*(round(error, 4) for error in errors), run.client_limited))
            if max(map(abs, errors)) <= tolerance and not run.client_limited:
                return
    if all(limited for *_, limited in seen):
        pytest.skip(f"this machine was too busy for {streams} streams, and the client said so: {seen}")
    pytest.fail(f"wrong and not flagged: {seen}")


def test_a_client_that_is_held_up_says_so() -> None:
    """Whoever is told of the progress takes 0.3 s each time: answers wait, and the client notices."""
    request = BenchRequest.read(
        concurrency="4", num_prompts=24, prompt_tokens=8, output_tokens=10, calibrate=False, url="http://x",
        extra_body=json.dumps({"mock": {"ttft_s": 0.1, "itl_s": 0.02}}),
    )  # fmt: skip
    with mock_server() as base:
        run = run_bench(request.model_copy(update={"url": base}), on_progress=lambda _: time.sleep(0.3)).runs[0]
    assert run.client_limited and run.loop_late_ms is not None and run.loop_late_ms > 10


def test_the_command_line(cli: Callable[..., Ran], tmp_path: object) -> None:
    with mock_server() as base:
        times = json.dumps({"mock": {"ttft_s": 0.02, "itl_s": 0.002}})
        asked = (
            "bench",
            base,
            "--concurrency",
            "1,2",
            "--num-prompts",
            "4",
            "--prompt-tokens",
            "6",
            "--output-tokens",
            "5",
        )
        out = f"{tmp_path}/r.json"
        ran = cli(*asked, "--extra-body", times, "--ttft", "10s", "--json", "--out", out)
    form = ran.json()
    assert ran.code == 0 and form["completed"] == 4 and form["failed"] == 0 and form["schema_version"] == 1
    assert {"duration_s", "output_tok_per_s", "total_tok_per_s", "e2e_ms", "client_limited", "predicted"} <= set(form)
    assert 19 < form["ttft_ms"]["p50"] < 200 and set(form["itl_ms"]) >= {"mean", "p50", "p90", "p99"}
    assert [run["concurrency"] for run in form["runs"]] == [1, 2] and form["goodput_per_s"] == form["request_per_s"]
    with open(out, encoding="utf-8") as file:  # noqa: PTH123 - a name as a user gives it
        saved = json.load(file)
    requests = saved["runs"][0]["requests"]
    assert len(requests) == 4 and all(len(request["chunk_s"]) == 5 for request in requests)


FILES: list[tuple[str, str]] = [("r.html", "<svg"), ("r.svg", "<svg"), ("r.md", "# "), ("r.txt", "TTFT")]


@pytest.mark.parametrize("language", ["en", "ko"])
def test_reports_in_both_languages(cli: Callable[..., Ran], tmp_path: object, language: str) -> None:
    with server(good) as served:
        for name, mark in FILES:
            ran = cli(
                "bench", served.base, "--concurrency", "1,2", "--num-prompts", "4", "--no-calibrate", "--prompt-tokens", "4",
                "--output-tokens", "3", "--out", f"{tmp_path}/{name}", "--lang", language,
            )  # fmt: skip
            assert ran.code == 0 and "TTFT" in ran.out, ran.err
            with open(f"{tmp_path}/{name}", encoding="utf-8") as file:  # noqa: PTH123
                text = file.read()
            assert mark in text and ("부하" in text or "요청" in text or language == "en")


def test_vllms_form_is_written_on_request(cli: Callable[..., Ran], tmp_path: object) -> None:
    with server(good) as served:
        out = f"{tmp_path}/v.json"
        asked = (
            "bench",
            served.base,
            "--num-prompts",
            "3",
            "--no-calibrate",
            "--prompt-tokens",
            "4",
            "--output-tokens",
            "3",
        )
        assert cli(*asked, "--result-format", "vllm", "--out", out).code == 0
        assert cli(*asked, "--result-format", "vllm").code == 2
        result = run_bench(BenchRequest.read(url=served.base, num_prompts=3, output_tokens=3, calibrate=False))
    with open(out, encoding="utf-8") as file:  # noqa: PTH123
        assert set(json.load(file)) == set(vllm_form(result, result.runs[0]))


def test_a_prediction_stands_beside_the_measurement(cli: Callable[..., Ran]) -> None:
    with server(good) as served:
        asked = (
            "bench",
            served.base,
            "--num-prompts",
            "3",
            "--no-calibrate",
            "--model",
            "Qwen/Qwen3-8B",
            "--gpu",
            "rtx-4090",
        )
        ran = cli(*asked, "--engine", "vllm", "--format", "fp8", "--concurrency", "4", "--json")
        text = cli(*asked, "--engine", "vllm", "--format", "fp8")
        huge = cli(*asked[:-1], "rtx-3060", "--format", "bf16", "--engine", "vllm")
    predicted = ran.json()["predicted"]
    assert predicted["verdict"] == "fits" and predicted["deployment"]["weight_format"] == "fp8"
    rows = {row["metric"]: row for row in predicted["compared"]}
    assert set(rows) == {"ttft_s", "inter_token_s", "output_tok_per_s"} and rows["ttft_s"]["inside"] is False
    assert "Predicted beside measured" in text.out and "No prediction" in huge.out and huge.code == 0


def test_a_dry_run_shows_the_load_and_sends_nothing(cli: Callable[..., Ran]) -> None:
    asked = ("bench", "http://127.0.0.1:9", "--dry-run", "--model", "a/b", "--concurrency", "8", "--ttft", "500ms")
    ran = cli(*asked, "--api-key", "secret", "--json")
    load = ran.json()["loads"][0]
    assert ran.code == 0 and load["num_prompts"] == 40 and "secret" not in ran.out
    assert load["argv"][:3] == ["vllm", "bench", "serve"] and "ttft:500" in load["argv"]
    assert "vllm bench serve" in cli(*asked, "--lang", "ko").out


@pytest.mark.parametrize(
    "flags",
    [
        ("--concurrency", "0"), ("--concurrency", "1,x"), ("--concurrency", "5000"), ("--rate", "-1"), ("--seed", "-1"),
        ("--concurrency", "1,2", "--rate", "1,2"), ("--extra-body", "["), ("--api-key-env", "NO_SUCH_VARIABLE"),
        ("--out", "x.pdf"), ("--dataset", "x"), ("--client", "x"), ("--gpu", "nothing", "--model", "Qwen/Qwen3-8B"),
        ("--length-spread", "2"), ("--warmup", "x"),
    ],
)  # fmt: skip
def test_bad_input_is_said_before_anything_is_sent(cli: Callable[..., Ran], flags: tuple[str, ...]) -> None:
    ran = cli("bench", "http://127.0.0.1:9", *flags)
    assert ran.code == 2 and ran.err.strip() and not ran.out


def test_no_server_is_exit_code_3(cli: Callable[..., Ran]) -> None:
    ran = cli("bench", "http://127.0.0.1:9", "--lang", "ko")
    assert ran.code == 3 and "응답하는 서버가 없습니다" in ran.err and "Traceback" not in ran.err


def test_all_failed_is_exit_code_3(cli: Callable[..., Ran]) -> None:
    async def answer(asked: object, writer: object) -> None:
        writer.write(b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")  # type: ignore[attr-defined]

    broken: Answer = answer
    with server(broken) as served:
        ran = cli("bench", served.base, "--num-prompts", "3", "--no-calibrate")
    assert ran.code == 3 and "http_500: 3" in ran.out
