"""The ledger: whole rows whatever happens, several writers at once, and the verbs that show it."""

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Ran
from fitserve.foundation.errors import InputError, WorldError
from fitserve.hardware.types import Host, Machine
from fitserve.ledger.places import state_folder
from fitserve.ledger.store import Ledger
from fitserve.ledger.types import Kind, State
from fitserve.render.runs import report_markdown
from fitserve.render.texts import texts


def test_a_row_is_read_back_as_it_was_written() -> None:
    ledger = Ledger()
    begun = ledger.begin(Kind.SERVE, "a · b", request={"model": "한글"}, command={"argv": ["x", "y z"]})
    assert begun.state is State.STARTING
    ended = ledger.end(begun.id, State.FAILED, result={"error": "no"}, log_tail="l1\nl2", cause={"code": "c"})
    assert ended == ledger.get(begun.id)
    assert (ended.request, ended.command, ended.result, ended.cause) == (
        {"model": "한글"}, {"argv": ["x", "y z"]}, {"error": "no"}, {"code": "c"},
    )  # fmt: skip
    assert ended.ended_s is not None
    assert ended.ended_s >= ended.started_s


def test_lists_are_newest_first_and_filtered() -> None:
    ledger = Ledger()
    for kind in (Kind.PLAN, Kind.SERVE, Kind.PLAN):
        ledger.begin(kind, kind.value)
    assert [run.id for run in ledger.runs()] == [3, 2, 1]
    assert [run.id for run in ledger.runs((Kind.PLAN,))] == [3, 1]
    assert ledger.runs((), (State.READY,)) == ()
    assert [run.id for run in ledger.runs(limit=1)] == [3]


def test_what_is_not_there_is_bad_input() -> None:
    with pytest.raises(InputError):
        Ledger().get(7)
    with pytest.raises(InputError):
        Ledger().forget(7)


def test_numbers_are_not_given_twice() -> None:
    ledger = Ledger()
    first = ledger.begin(Kind.BENCH, "a")
    ledger.forget(first.id)
    assert ledger.begin(Kind.BENCH, "b").id == first.id + 1


_WRITER = """
import sys
from fitserve.ledger.store import Ledger
from fitserve.ledger.types import Kind
for number in range(25):
    Ledger().add(Kind.PLAN, f"{sys.argv[1]}-{number}", {"plans": number})
"""


def test_several_writers_lose_nothing() -> None:
    writers = [subprocess.Popen([sys.executable, "-c", _WRITER, name]) for name in "abcd"]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0, 0]
    titles = {run.title for run in Ledger().runs()}
    assert titles == {f"{name}-{number}" for name in "abcd" for number in range(25)}


def test_a_file_of_a_later_release_is_left_alone() -> None:
    ledger = Ledger()
    ledger.begin(Kind.PLAN, "a")
    connection = sqlite3.connect(ledger.path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(WorldError, match="later"):
        ledger.runs()


def test_a_ledger_that_cannot_be_written_does_not_stop_a_plan(
    cli: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("x", encoding="utf-8")
    monkeypatch.setenv("FITSERVE_HOME", str(blocked / "home"))
    ran = cli("plan", "Qwen/Qwen3-8B", "--gpu", "rtx-4090", "--engine", "vllm")
    assert ran.code == 0
    assert "ledger" in ran.err


def test_plans_are_kept_and_shown(cli: Callable[..., Ran]) -> None:
    assert cli("plan", "Qwen/Qwen3-8B", "--gpu", "rtx-4090", "--engine", "vllm").code == 0
    listed = cli("runs", "--json").json()["runs"]
    assert [(run["kind"], run["state"]) for run in listed] == [("plan", "done")]
    assert "Qwen/Qwen3-8B" in cli("runs", "--lang", "ko").out
    whole = cli("runs", "1", "--json").json()
    assert whole["request"]["gpu"] == ["rtx-4090"]
    assert cli("runs", "forget", "1").code == 0
    assert cli("runs", "--json").json()["runs"] == []
    assert cli("runs", "seven").code == 2


@pytest.mark.parametrize("language", ["en", "ko"])
def test_the_report_has_every_attempt_its_cause_and_the_conclusion(language: str) -> None:
    ledger = Ledger()
    bad = ledger.begin(Kind.SERVE, "Llama 4 · bf16 · vllm", command={"argv": ["vllm", "serve", "x y"]})
    cause = {"code": "memory.load", "text": "not enough | memory", "fixes": [{"text": "take Q4_K_M"}]}
    ledger.end(bad.id, State.FAILED, result={"error": "CUDA out of memory"}, cause=cause, log_tail="last line")
    good = ledger.begin(Kind.BENCH, "Qwen3 8B · gguf:Q4_K_M")
    point = {"concurrency": 4, "output_tok_per_s": 123.4, "completed": 8, "failed": 0, "ttft_ms": {"mean": 50.0}}
    ledger.end(good.id, State.DONE, result={"runs": [point]})
    machine = Machine(devices=(), host=Host(ram_bytes=1 << 34, cpu_name="A CPU"))
    text = report_markdown(ledger.runs(), machine, ["another one"], texts(language))
    for part in (
        "Llama 4",
        "'x y'",
        "take Q4_K_M",
        "123.4",
        "A CPU",
        "16.0 GiB",
        "another one",
        "last line",
        "CUDA out of memory",
    ):
        assert part in text, part
    assert "not enough \\| memory" in text or "not enough | memory" in text


def test_the_report_is_a_page_that_runs_nothing(cli: Callable[..., Ran], tmp_path: Path) -> None:
    ledger = Ledger()
    run = ledger.begin(Kind.SERVE, "<script>alert(1)</script>")
    ledger.end(run.id, State.FAILED, result={"error": "<img src=x>"})
    page = tmp_path / "report.html"
    assert cli("runs", "report", "--out", str(page), "--lang", "ko").code == 0
    text = page.read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert "<script" not in text
    assert "<img" not in text
    assert "http" not in text.split("<body>")[0]


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are POSIX's")
def test_the_folder_is_private(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FITSERVE_HOME", str(tmp_path / "new"))
    Ledger().begin(Kind.PLAN, "a")
    assert state_folder().stat().st_mode & 0o077 == 0
