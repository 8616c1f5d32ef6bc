"""`eval`: the command, the results and the failures of lm_eval 0.4.13, and what its scores are set beside."""

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench_servers import Answer, Asked, server, whole
from conftest import Ran
from fitserve.bench.base_scores import base_of, compared_scores, shots_in
from fitserve.bench.eval_run import run_eval
from fitserve.bench.eval_types import EvalResult, Score
from fitserve.bench.lm_eval import argv_of, environment_folder, failure_of, find_program, lm_eval_version, progress_in
from fitserve.bench.processes import run_program
from fitserve.bench.request import EvalRequest
from fitserve.bench.types import Progress
from fitserve.foundation.errors import BenchFailed, InputError
from fitserve.render.texts import LANGUAGES, texts

RESULT = {
    "results": {
        "gsm8k": {
            "name": "gsm8k", "alias": "gsm8k", "sample_len": 10, "exact_match,strict-match": 0.7,
            "exact_match_stderr,strict-match": 0.05, "exact_match,flexible-extract": 0.8,
            "exact_match_stderr,flexible-extract": "N/A",
        }
    },
    "n-samples": {"gsm8k": {"original": 1319, "effective": 10}}, "n-shot": {"gsm8k": 5},
    "higher_is_better": {"gsm8k": {"exact_match": True}}, "lm_eval_version": "0.4.13",
}  # fmt: skip
SCRIPT = """#!{python}
import json, os, pathlib, sys
argv = sys.argv[1:]
folder = pathlib.Path(argv[argv.index("--output_path") + 1]) / "m"
folder.mkdir(parents=True)
for done in range(5):
    print("\\rRequesting API:  %d%%|##  | %d/4 [00:00<00:01, 4.83it/s]" % (25 * done, done), end="", file=sys.stderr)
{before}
result = json.loads({result!r})
result["seen"] = argv, os.environ.get("OPENAI_API_KEY")
(folder / "results_2026-11-20T18-03-37.653137.json").write_text(json.dumps(result))
"""


def fake(folder: Path, before: str = "", result: Any = RESULT) -> str:
    """A program that does what lm_eval does, as far as `eval` sees it."""
    path = folder / "lm_eval"
    path.write_text(SCRIPT.format(python=sys.executable, before=before, result=json.dumps(result)))
    path.chmod(0o755)
    return str(path)


def evaluated(base: str, program: str, **fields: Any) -> EvalResult:
    return run_eval(EvalRequest.read(url=base, lm_eval=program, **fields))


async def _complete(asked: Asked, writer: Any) -> None:
    writer.write(whole("200 OK", {"choices": [{"text": "1"}]}))


ANSWER: Answer = _complete


def test_scores_come_from_the_result_file(tmp_path: Path) -> None:
    told: list[Progress] = []
    with server(ANSWER, models=("Qwen/Qwen2.5-7B-Instruct",)) as served:
        request = EvalRequest.read(url=served.base, lm_eval=fake(tmp_path), api_key="secret", limit=10)
        result = run_eval(request, on_progress=told.append)
    strict, flexible = result.scores
    assert (strict.value, strict.standard_error, strict.chosen_by) == (0.7, 0.05, "strict-match")
    assert (flexible.value, flexible.standard_error, flexible.shots) == (0.8, None, 5)
    assert (strict.samples, strict.all_samples, result.version) == (10, 1319, "0.4.13")
    assert [seen.done for seen in told] == [0, 1, 2, 3, 4] and told[-1].total == 4
    assert "secret" not in " ".join(result.argv)


def test_published_scores_stand_beside_with_what_differs(tmp_path: Path) -> None:
    with server(ANSWER, models=("Qwen/Qwen2.5-7B-Instruct",)) as served:
        result = evaluated(served.base, fake(tmp_path))
    published = [item for item in result.comparisons if item.base.kind == "published"]
    assert published and all(item.base.benchmark == "GSM8K" and 0.5 < item.base.value < 1 for item in published)
    codes = {code for item in published for code, _ in item.differences}
    assert "eval_limit_differs" in codes and codes & {"eval_setting_unknown", "eval_shots_differ"}
    assert all(item.verdict in {"within", "below", "above"} for item in published)


def score(value: float, error: float | None = 0.01) -> Score:
    return Score(
        task="gsm8k", metric="exact_match", chosen_by="strict-match", value=value, standard_error=error, samples=1319,
        all_samples=1319, shots=5,
    )  # fmt: skip


@pytest.mark.parametrize(("value", "verdict"), [(0.75, "within"), (0.735, "within"), (0.7, "below"), (0.8, "above")])
def test_a_difference_within_chance_is_said_to_be(value: float, verdict: str) -> None:
    request = EvalRequest.read(url="http://x", base_score=0.75)
    (found,) = compared_scores(request, "nobody/knows", "chat", (score(value),))
    assert found.verdict == verdict and found.differences == ()


def test_a_quantized_copy_is_set_beside_its_base() -> None:
    assert base_of("Qwen/Qwen3-8B-AWQ") == base_of("Qwen/Qwen3-8B") == "Qwen/Qwen3-8B"
    assert base_of("nobody/knows") == "nobody/knows"
    assert not compared_scores(EvalRequest.read(url="http://x"), "nobody/knows", "chat", (score(0.5),))


@pytest.mark.parametrize(
    ("setting", "shots"),
    [
        ("8-shot", 8),
        ("GSM-8K (CoT) ; 8 em_maj1@1", 8),
        ("0-shot CoT for MMLU", 0),
        ("5 shot", 5),
        ("AIME24", None),
        (None, None),
    ],
)
def test_shots_of_a_setting(setting: str | None, shots: int | None) -> None:
    assert shots_in(setting) == shots


def test_the_progress_bar_is_read() -> None:
    assert progress_in("Requesting API:  90%|█████████ | 9/10 [00:00<00:00, 27.20it/s]") == (9, 10)
    assert progress_in("100%|██████████| 10/10 [00:00<00:00, 1134.91it/s]") is None  # builds prompts, asks nothing


FAILURES = [
    ("ConnectionError: Couldn't reach 'openai/gsm8k' on the Hub (LocalEntryNotFoundError)", "lm_eval_network"),
    ("ValueError: Tasks not found: nosuch", "lm_eval_task_unknown"),
    ("AssertionError: Tokenizer is required for loglikelihood tasks to compute context lengths.", "lm_eval_tokenizer"),
    ("    import transformers\nModuleNotFoundError: No module named 'transformers'", "lm_eval_tokenizer"),
    ("NotImplementedError: Loglikelihood is not supported for chat completions. Consider", "lm_eval_chat"),
    ("aiohttp.client_exceptions.ClientConnectorError: Cannot connect to host 127.0.0.1:9 ssl:default [Co", "lm_eval_server"),
    ("aiohttp.client_exceptions.ClientResponseError: 404, message='Not Found', url='http://127.0.0.1:8123/v1/x'\n"
     "RuntimeError: Session is closed", "lm_eval_server"),
    ("Traceback\nKeyError: 'x'", "lm_eval_failed"),
    ("", "lm_eval_failed"),
]  # fmt: skip


@pytest.mark.parametrize(("output", "code"), FAILURES)
def test_a_failure_becomes_one_clear_message(output: str, code: str) -> None:
    failed = failure_of("m", ("gsm8k",), f"INFO: started\n{output}\n")
    assert failed.problem is not None and failed.problem.code == code
    for language in LANGUAGES:
        text = texts(language).world_error(failed)
        assert "\n" not in text and "{" not in text


def _code(action: Callable[[], Any]) -> str:
    with pytest.raises(BenchFailed) as failed:
        action()
    assert failed.value.problem is not None
    for language in LANGUAGES:
        assert texts(language).world_error(failed.value)
    return failed.value.problem.code


async def _absent(asked: Asked, writer: Any) -> None:
    writer.write(whole("404 Not Found", {"detail": "Not Found"}))


def test_what_cannot_be_scored(tmp_path: Path) -> None:
    dead = f"http://127.0.0.1:{1}"
    assert _code(lambda: evaluated(dead, fake(tmp_path))) == "bench_unreachable"
    with server(_absent) as served:
        assert _code(lambda: evaluated(served.base, fake(tmp_path))) == "bench_refused"
    with server(ANSWER) as served:
        assert _code(lambda: evaluated(served.base, str(tmp_path / "none"))) == "client_missing"
        broken = fake(tmp_path, "raise ValueError('Tasks not found: x')")
        assert _code(lambda: evaluated(served.base, broken)) == "lm_eval_task_unknown"
        assert _code(lambda: evaluated(served.base, fake(tmp_path, "raise SystemExit(0)"))) == "lm_eval_no_result"
        unreadable = fake(tmp_path, "(folder / 'results_1.json').write_text('{'); raise SystemExit(0)")
        assert _code(lambda: evaluated(served.base, unreadable)) == "lm_eval_no_result"


def test_a_stopped_evaluation_leaves_nothing_running(tmp_path: Path) -> None:
    cancel, note = threading.Event(), tmp_path / "pid"
    sleeping = "import subprocess, time; p = subprocess.Popen(['sleep', '300']); "
    program = fake(tmp_path, f"{sleeping}open({str(note)!r}, 'w').write(str(p.pid)); time.sleep(300)")

    def stop() -> None:
        while not note.exists() or not note.read_text():
            time.sleep(0.05)
        cancel.set()

    thread = threading.Thread(target=stop)
    thread.start()
    with server(ANSWER) as served:
        request = EvalRequest.read(url=served.base, lm_eval=program)
        assert _code(lambda: run_eval(request, cancel=cancel)) == "lm_eval_stopped"
    thread.join()
    child = int(note.read_text())
    for _ in range(50):
        if not Path(f"/proc/{child}/cmdline").exists() or not Path(f"/proc/{child}/cmdline").read_bytes():
            break
        time.sleep(0.1)
    else:
        pytest.fail("a child of lm_eval still runs")


def test_the_output_of_a_program_is_read_line_by_line(tmp_path: Path) -> None:
    lines: list[str] = []
    script = "import sys; sys.stdout.write('a\\rb\\n'); sys.stdout.flush(); sys.stderr.write('x' * 200000 + '\\nend')"
    code, output = run_program([sys.executable, "-c", script], os.environ, tmp_path, lines.append)
    assert code == 0 and lines[0] == "a" and lines[1] == "b" and lines[-1] == "end" and output.endswith("end")


TASK = "task: tiny\ndataset_path: json\noutput_type: generate_until\n"


def test_the_command(tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text(TASK)
    request = EvalRequest.read(
        url="http://127.0.0.1:1/v1", task_file=str(tmp_path / "t.yaml"), limit=5, fewshot=0, concurrency=3, seed=7,
        output_tokens=64, context=4096, tokenizer="/tok",
    )  # fmt: skip
    argv = argv_of(request, "lm_eval", 'na,me="x"', "chat", "out")
    options = dict(zip(argv[1::2], argv[2::2], strict=False))
    assert options["--model"] == "local-chat-completions" and "--apply_chat_template" in argv
    arguments = json.loads(argv[argv.index("--model_args") + 1])
    assert arguments["base_url"] == "http://127.0.0.1:1/v1/chat/completions" and arguments["model"] == 'na,me="x"'
    assert (arguments["num_concurrent"], arguments["max_length"], arguments["tokenizer"]) == (3, 4096, "/tok")
    assert argv[argv.index("--tasks") + 1] == "tiny" and argv[argv.index("--include_path") + 1] == str(
        tmp_path.resolve()
    )
    assert argv[argv.index("--num_fewshot") + 1] == "0" and argv[argv.index("--limit") + 1] == "5"
    for wrong in (str(tmp_path / "none.yaml"), __file__):
        with pytest.raises(InputError):
            argv_of(EvalRequest.read(url="http://x", task_file=wrong), "lm_eval", "m", "chat", "out")


def test_the_environment_is_found_only_when_it_is_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    request = EvalRequest.read(url="http://x")
    assert find_program(request) is None and lm_eval_version() in str(environment_folder())
    environment_folder().mkdir(parents=True)
    assert find_program(request) is None
    (environment_folder() / ".ready").touch()
    assert find_program(request) == str(environment_folder() / "bin/lm_eval")


def test_the_command_line(cli: Callable[..., Ran], tmp_path: Path) -> None:
    with server(ANSWER, models=("Qwen/Qwen2.5-7B-Instruct",)) as served:
        asked = ("eval", served.base, "--lm-eval", fake(tmp_path))
        form = cli(*asked, "--json", "--limit", "10", "--base-score", "0.75").json()
        text = cli(*asked, "--lang", "ko")
    assert form["scores"][0]["stderr"] == 0.05 and form["compared"][0]["base"]["kind"] == "given"
    assert form["compared"][0]["verdict"] == "within" and form["lm_eval_version"] == "0.4.13"
    assert text.code == 0 and "기준 모델" in text.out
    dry = cli(
        "eval", "http://127.0.0.1:9", "--dry-run", "--model", "a/b", "--tasks", "gsm8k,ifeval", "--api-key", "secret"
    )
    assert dry.code == 0 and "--tasks gsm8k,ifeval" in dry.out and "secret" not in dry.out
    assert cli("eval", "http://127.0.0.1:9", "--limit", "0").code == 2
    assert cli("eval", "http://127.0.0.1:9", "--lang", "ko").code == 3


def test_a_chat_only_server_is_asked_by_chat(tmp_path: Path) -> None:
    async def chat(asked: Asked, writer: Any) -> None:
        await (_complete if "chat" in asked.path else _absent)(asked, writer)

    with server(chat) as served:
        result = evaluated(served.base, fake(tmp_path))
    assert result.endpoint == "chat" and {reason.code for reason in result.notes} == {"eval_chat_limit"}
