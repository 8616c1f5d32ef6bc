"""Real processes with a server that behaves as told: whatever happens, the result is clear and nothing is left running."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from conftest import Ran
from fitserve.engines.contract import LaunchCommand
from fitserve.foundation.errors import InputError
from fitserve.launch import processes
from fitserve.launch.keeper import BoundedLog
from fitserve.launch.prepare import Prepared, free_port
from fitserve.launch.processes import Kept
from fitserve.launch.request import ServeRequest
from fitserve.launch.session import Event, Running, ServerFailed, launch, reconciled, stop_run
from fitserve.launch.stages import Stage, StageReader
from fitserve.launch.ways import Kind, Way, ways
from fitserve.ledger.places import run_folder
from fitserve.ledger.store import Ledger
from fitserve.ledger.types import State

_FAKE = Path(__file__).with_name("fake_engine.py")
_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux's")


def a_port() -> int:
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return int(tried.getsockname()[1])


def prepared(*behaviour: str, context_tokens: int | None = None, api_key: str | None = None) -> Prepared:
    port = a_port()
    way = Way(kind=Kind.NATIVE, argv=(sys.executable, str(_FAKE), str(port), *behaviour))
    return Prepared(
        title="fake", engine_id="vllm", way=way, host="127.0.0.1", port=port, context_tokens=context_tokens, api_key=api_key
    )  # fmt: skip


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


@contextlib.contextmanager
def started(
    ledger: Ledger, *behaviour: str, context_tokens: int | None = None
) -> Iterator[tuple[Running, list[Event]]]:
    events: list[Event] = []
    running = launch(prepared(*behaviour, context_tokens=context_tokens), ledger, 30.0, events.append)
    try:
        yield running, events
    finally:
        stop_run(ledger, running.run)
        running.owner.let_go()
        running.owner.popen.wait()


def left(run_id: int) -> list[psutil.Process]:
    return [process for process in processes.marked(run_folder(run_id)) if process.status() != psutil.STATUS_ZOMBIE]


def soon(check: Callable[[], bool], within_s: float = 10.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if check():
            return True
        time.sleep(0.05)
    return check()


def test_a_server_that_answers_is_ready_and_then_gone(ledger: Ledger) -> None:
    with started(ledger, "healthy", "child", "context=4096", context_tokens=4096) as (running, events):
        assert running.run.state is State.READY
        assert running.smoke.is_passed
        assert running.smoke.text == "ready"
        assert running.smoke.context_tokens == 4096
        assert [event.stage for event in events if event.stage][-1] is Stage.READY
        assert any("Application startup complete" in (event.line or "") for event in events)
        assert reconciled(ledger)[0].id == running.run.id
        assert len(left(running.run.id)) >= 2
    assert not left(running.run.id)
    assert ledger.get(running.run.id).state is State.STOPPED
    assert not reconciled(ledger)


@pytest.mark.parametrize(
    ("behaviour", "told"),
    [
        ("dies", "CUDA out of memory"),
        ("cut", "broke off"),
        ("wrong", "500"),
        ("garbage", "not an event"),
        ("context=1024", "1024 / 4096"),
    ],
)
def test_a_server_that_fails_says_how_and_leaves_nothing(ledger: Ledger, behaviour: str, told: str) -> None:
    with pytest.raises(ServerFailed) as failed:
        launch(prepared(behaviour, "child", context_tokens=4096), ledger, 30.0, lambda _: None)
    assert told in failed.value.detail
    run = failed.value.run
    assert run.state is State.FAILED
    assert "INFO: starting" in (run.log_tail or "")
    assert not left(run.id)


def test_a_server_that_never_answers_is_given_up_in_time(ledger: Ledger) -> None:
    begun = time.monotonic()
    with pytest.raises(ServerFailed) as failed:
        launch(prepared("silent"), ledger, 3.0, lambda _: None)
    assert "no answer" in failed.value.detail
    assert time.monotonic() - begun < 30
    assert not left(failed.value.run.id)


def test_a_program_that_cannot_be_started(ledger: Ledger) -> None:
    one = prepared()
    missing = Prepared(
        title="x", engine_id="vllm", way=Way(kind=Kind.NATIVE, argv=("/nowhere/vllm",)), host=one.host, port=one.port
    )
    with pytest.raises(ServerFailed) as failed:
        launch(missing, ledger, 5.0, lambda _: None)
    assert "/nowhere/vllm" in failed.value.detail


def test_a_deaf_server_is_killed(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_STOPS_WITHIN_S", 3.0)
    with started(ledger, "deaf") as (running, _):
        begun = time.monotonic()
        stop_run(ledger, running.run)
        assert time.monotonic() - begun < 20
        assert not left(running.run.id)


_OWNER = """
import sys, time
sys.path.insert(0, {tests!r})
from test_launch import prepared
from fitserve.launch.session import launch
from fitserve.ledger.store import Ledger
running = launch(prepared("child"), Ledger(), 30.0, lambda event: None)
print(running.run.id, flush=True)
time.sleep(3600)
"""


@_LINUX
def test_a_killed_owner_takes_its_server_along(ledger: Ledger) -> None:
    script = _OWNER.format(tests=str(_FAKE.parent))
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        run_id = int(owner.stdout.readline())
        assert left(run_id)
        owner.send_signal(signal.SIGKILL)
        owner.wait()
    assert soon(lambda: not left(run_id), 25.0)
    assert not reconciled(ledger)
    assert ledger.get(run_id).state is State.STOPPED


@_LINUX
def test_a_killed_keeper_leaves_no_orphan(ledger: Ledger) -> None:
    with started(ledger, "child", "nameless") as (running, _):
        assert len(left(running.run.id)) >= 4
        os.kill(running.owner.kept.keeper_pid, signal.SIGKILL)
        assert soon(lambda: not psutil.pid_exists(running.owner.kept.engine_pid))
        running.owner.popen.wait()
        assert soon(
            lambda: len(left(running.run.id)) == 1
        )  # but the one that left the session, which the next look sweeps
        assert not reconciled(ledger)
        assert soon(lambda: not left(running.run.id))
        assert ledger.get(running.run.id).state is State.LOST


def test_a_killed_engine_is_seen(ledger: Ledger) -> None:
    with started(ledger, "child") as (running, _):
        os.kill(running.owner.kept.engine_pid, signal.SIGKILL)
        assert soon(lambda: running.owner.kept.exit is not None)
        assert (running.owner.kept.exit or {})["signal"] == "SIGKILL"
        assert soon(lambda: not left(running.run.id))
        reconciled(ledger)
        assert ledger.get(running.run.id).state is State.FAILED


def test_a_long_log_stays_small_and_keeps_both_ends(tmp_path: Path) -> None:
    log = BoundedLog(tmp_path, head_bytes=1000, tail_bytes=1000)
    for number in range(10_000):
        log.write(f"line {number}\n".encode())
    log.close()
    parts = processes.log_parts(tmp_path)
    assert sum(path.stat().st_size for path in parts) <= 3000
    assert parts[0].read_bytes().startswith(b"line 0\n")
    assert processes.log_tail(tmp_path)[-1] == "line 9999"


def test_a_talkative_server_comes_up(ledger: Ledger) -> None:
    with started(ledger, "chatter=80") as (running, _):
        size = sum(path.stat().st_size for path in processes.log_parts(running.owner.kept.folder))
        assert size <= 3 * (16 << 20)
        assert processes.log_tail(running.owner.kept.folder)[-1].strip().endswith("startup complete.")


def test_the_key_is_kept_nowhere(ledger: Ledger) -> None:
    secret = "sk-very-secret-key"
    running = launch(prepared("healthy", secret, api_key=secret), ledger, 30.0, lambda _: None)
    try:
        assert secret not in str(ledger.get(running.run.id))
        kept = [path.read_bytes() for path in run_folder(running.run.id).iterdir()]
        assert not any(secret.encode() in data for data in kept)
    finally:
        stop_run(ledger, running.run)
        running.owner.let_go()
        running.owner.popen.wait()


def test_a_taken_port_is_an_error_when_asked_for_and_avoided_when_not() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError) as wrong:
            free_port(ServeRequest.read(model="x", port=port))
    assert wrong.value.problems[0].code == "port_taken"
    assert free_port(ServeRequest.read(model="x"))[0] >= 8000


def test_stages_never_go_back() -> None:
    reader = StageReader.of({"stages": [{"stage": "load", "pattern": "load"}, {"stage": "ready", "pattern": "up"}]})
    assert [reader.read(line) for line in ("load a", "load b", "up", "load c")] == [Stage.LOAD, None, Stage.READY, None]


def test_a_process_number_that_was_given_anew_is_not_ours(tmp_path: Path) -> None:
    kept = Kept(folder=tmp_path, keeper_pid=os.getpid(), keeper_started_s=0.0, engine_pid=os.getpid())
    assert not kept.is_alive


def test_bad_input_is_one_message(cli: Callable[..., Ran], tmp_path: Path) -> None:
    wrong = tmp_path / "plan.json"
    wrong.write_text('{"schema_version": 1, "plans": []}', encoding="utf-8")
    for words, told in (
        (("serve", "Qwen/Qwen3-8B", "--port", "99999"), "99999"),
        (("serve", str(wrong)), "--pick"),
        (("serve", str(tmp_path / "none.json")), "none.json"),
        (("serve", "rm -rf /tmp/x"), "rm -rf"),
        (("stop", "77"), "77"),
    ):
        ran = cli(*words)
        assert ran.code == 2, words
        assert told in ran.err
        assert len(ran.err.strip().splitlines()) == 1


def test_ways_prefer_the_engine_itself_then_the_embedded_one_then_a_container(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("docker", "llama-server"):
        (tmp_path / name).write_text("#!/bin/sh\n", encoding="utf-8")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    command = LaunchCommand(argv=("llama-server", "--port", "9"), image="img:1", entrypoint="/app/llama-server", port=9)
    found = ways(command, "fitserve-9", has_devices=False)
    kinds = [way.kind for way in found]
    assert kinds[0] is Kind.NATIVE
    assert kinds[-1] is Kind.CONTAINER
    container = found[-1]
    assert container.argv[:2] == ("docker", "run")
    assert "-it" not in container.argv
    assert container.argv[container.argv.index("--name") + 1] == "fitserve-9"
    assert "--rm" in container.argv
    assert container.cleanup == ("docker", "rm", "--force", "fitserve-9")
    (tmp_path / "llama-server").unlink()
    rest = [way.kind for way in ways(command, "x", has_devices=True)]
    assert rest == [Kind.CONTAINER], "the embedded engine does not use a GPU"


def test_a_container_outlives_its_client_and_is_removed(ledger: Ledger, tmp_path: Path) -> None:
    mark = tmp_path / "removed"
    one = prepared("healthy")
    way = Way(
        kind=Kind.CONTAINER, argv=one.way.argv, cleanup=(sys.executable, "-c", f"open({str(mark)!r}, 'w').close()")
    )
    running = launch(replace(one, way=way), ledger, 30.0, lambda _: None)
    stop_run(ledger, running.run)
    running.owner.let_go()
    running.owner.popen.wait()
    assert mark.exists()
