"""One start of a server: from a prepared command to a healthy, smoke-tested address, or to the reason why not."""

import os
import queue
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fitserve.engines.registry import engine
from fitserve.foundation.errors import LaunchFailed, WorldError
from fitserve.launch import processes
from fitserve.launch.http import NoAnswer, Server
from fitserve.launch.prepare import Prepared
from fitserve.launch.processes import Kept, Owner
from fitserve.launch.smoke import Smoke, smoke_test
from fitserve.launch.stages import Stage, StageReader
from fitserve.launch.ways import Kind as WayKind
from fitserve.ledger.places import run_folder
from fitserve.ledger.store import Ledger
from fitserve.ledger.types import Kind, Run, State

_POLL_S = 0.25
_HEALTH_WAIT_S = 2.0
_STEP_WAIT_S = 3600.0
_OK = 200
_MOST_LINES = 20_000
_TAIL_LINES = 60
_BEFORE = re.compile(r"fitserve: (\d+) bytes resident before the model")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something to show: a line of the engine, or the stage that begins."""

    line: str | None = None
    stage: Stage | None = None
    since_s: float = 0.0


class ServerFailed(LaunchFailed):
    """The server did not come up, or did not answer right; `run` is its row in the ledger, with the log's last lines."""

    def __init__(self, run: Run, action: str, detail: str) -> None:
        super().__init__(action, detail)
        self.run = run


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A server that answers. `ready_s`: seconds from its start; the memory figures are bytes in RAM."""

    run: Run
    owner: Owner
    smoke: Smoke
    ready_s: float
    before_bytes: int | None = None
    resident_bytes: int | None = None

    @property
    def grown_bytes(self) -> int | None:
        """What the model took; None where the process did not say what it had before."""
        if self.before_bytes is None or self.resident_bytes is None:
            return None
        return self.resident_bytes - self.before_bytes


def launch(prepared: Prepared, ledger: Ledger, timeout_s: float, tell: Callable[[Event], None]) -> Running:
    """Starts and waits until the server is healthy and has answered.

    The keeper is tied to this process until the caller lets it go. Raises ServerFailed with nothing left running; an
    interrupt ends what was started, too.
    """
    run = ledger.begin(
        Kind.SERVE, prepared.title, command={"argv": _told(prepared), "env": dict.fromkeys(prepared.env, "…")},
        request={"model": prepared.title}, deployment=_deployment_form(prepared),
    )  # fmt: skip
    folder = run_folder(run.id)
    owner: Owner | None = None
    try:
        _write_files(prepared, folder)
        owner = processes.start(prepared.way.argv, prepared.env, folder, tied=True, cleanup=prepared.way.cleanup)
        process = owner.kept.form | {"url": prepared.base, "port": prepared.port, "model": prepared.model_name}
        run = ledger.update(run.id, process=process)
        running = _bring_up(prepared, run, owner, timeout_s, tell)
    except BaseException as error:
        _give_up(owner, folder)
        raise _failure(error, ledger, run, prepared) from error
    kept = {"smoke": running.smoke.form, "ready_s": round(running.ready_s, 2), "memory": _memory(prepared, running)}
    run = ledger.update(run.id, state=State.READY.value, result=kept, process={**process, "model": running.smoke.model})
    return replace(running, run=run)


def _told(prepared: Prepared) -> list[str]:
    """The command as it is kept: without the key."""
    return ["…" if word == prepared.api_key else word for word in prepared.way.argv]


def _deployment_form(prepared: Prepared) -> dict[str, Any] | None:
    deployment = prepared.deployment
    if deployment is None:
        return None
    return {
        "model": deployment.model.id, "engine": deployment.engine, "engine_version": deployment.engine_version,
        "weight_format": deployment.weight_format.name, "kv_format": deployment.kv_format,
        "gpus": [{"gpu": gpu, "count": count} for gpu, count in deployment.machine.counts],
        "tp": deployment.tp, "pp": deployment.pp, "context_tokens": deployment.context_tokens,
        "concurrent_requests": deployment.concurrent_requests,
    }  # fmt: skip


def _write_files(prepared: Prepared, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for file in prepared.files:
            (folder / file.path).write_text(file.text, encoding="utf-8")
    except OSError as error:
        raise WorldError(f"write {folder}", error.strerror or str(error)) from error


def _failure(error: BaseException, ledger: Ledger, run: Run, prepared: Prepared) -> BaseException:
    """The error with its row in the ledger; an interrupt stays what it is."""
    folder = run_folder(run.id)
    lines = processes.log_tail(folder)[-_TAIL_LINES:]
    if isinstance(error, KeyboardInterrupt):
        ledger.end(run.id, State.STOPPED, log_tail="\n".join(lines))
        return error
    detail = error.detail if isinstance(error, WorldError) else f"{type(error).__name__}: {error}"
    ended = ledger.end(run.id, State.FAILED, log_tail="\n".join(lines), result={"error": detail})
    return ServerFailed(ended, prepared.title, detail) if isinstance(error, WorldError) else error


def _give_up(owner: Owner | None, folder: Path) -> None:
    if owner is not None:
        processes.stop(owner.kept)
        owner.let_go()
        owner.popen.wait()
    processes.sweep(folder)


def _bring_up(prepared: Prepared, run: Run, owner: Owner, timeout_s: float, tell: Callable[[Event], None]) -> Running:
    """Waits for health, runs the later steps, asks the first questions."""
    begun = time.monotonic()
    server = Server(base=prepared.base, api_key=prepared.api_key)
    reader = StageReader.of(engine(prepared.engine_id).facts)
    before: int | None = None
    with followed(owner) as lines:
        tell(Event(stage=Stage.START))
        while not _is_healthy(server, prepared.health_path):
            for line in drained(lines):
                found = _BEFORE.search(line)
                before = int(found[1]) if found else before
                _tell(line, reader, tell, begun)
            if not owner.kept.is_alive or owner.kept.exit is not None:
                raise LaunchFailed(prepared.title, _ended(owner))
            if time.monotonic() - begun > timeout_s:
                raise LaunchFailed(
                    prepared.title, f"no answer from {prepared.base}{prepared.health_path} in {timeout_s:g} s"
                )
            time.sleep(_POLL_S)
        ready_s = time.monotonic() - begun
        for line in drained(lines):
            found = _BEFORE.search(line)
            before = int(found[1]) if found else before
            _tell(line, reader, tell, begun)
        if reader.stage is not Stage.READY:
            tell(Event(stage=Stage.READY, since_s=ready_s))
        _later_steps(prepared, owner)
        smoke = smoke_test(server, prepared.model_name, prepared.context_tokens)
        for line in drained(lines):
            tell(Event(line=line))
    resident = processes.resident_bytes(owner.kept)
    if not smoke.is_passed:
        wrong = "; ".join(f"{c.name}: {c.detail}" for c in smoke.checks if c.state == "failed") or "no answer"
        raise LaunchFailed(prepared.title, wrong)
    return Running(run=run, owner=owner, smoke=smoke, ready_s=ready_s, before_bytes=before, resident_bytes=resident)


def _tell(line: str, reader: StageReader, tell: Callable[[Event], None], begun: float) -> None:
    stage = reader.read(line)
    tell(Event(line=line))
    if stage is not None:
        tell(Event(stage=stage, since_s=time.monotonic() - begun))


def _is_healthy(server: Server, path: str) -> bool:
    try:
        return server.get(path, _HEALTH_WAIT_S)[0] == _OK
    except NoAnswer:
        return False


def _ended(owner: Owner) -> str:
    told: Mapping[str, Any] = owner.kept.exit or {}
    how = told.get("signal") or f"exit {told.get('code', '?')}"
    lines = [line for line in processes.log_tail(owner.kept.folder) if line.strip()]
    return "\n".join([how, *lines[-5:]])


def _later_steps(prepared: Prepared, owner: Owner) -> None:
    """What is to be run once the server is up (`ollama create`). Raises LaunchFailed for one that fails."""
    inside = prepared.way.cleanup[-1:] if prepared.way.kind is WayKind.CONTAINER else ()
    for step in prepared.then:
        argv = ("docker", "exec", *inside, *step) if inside else step
        ran = subprocess.run(  # noqa: S603 - a step of the engine's own plan
            argv, cwd=owner.kept.folder, env={**os.environ, **prepared.env}, capture_output=True, text=True,
            timeout=_STEP_WAIT_S, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if ran.returncode:
            raise LaunchFailed(" ".join(argv), (ran.stderr or ran.stdout)[-1000:])


@contextmanager
def followed(owner: Owner) -> Iterator["queue.Queue[str]"]:
    """The lines that the engine prints from now on, read by a thread; the oldest are dropped when nobody takes them."""
    lines: queue.Queue[str] = queue.Queue(maxsize=_MOST_LINES)
    done = threading.Event()

    def follow() -> None:
        rest = b""
        while not done.is_set():
            try:
                data = os.read(owner.output.fileno(), 1 << 16)
            except (OSError, ValueError):
                break
            if not data:
                break
            *whole, rest = (rest + data).replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
            rest = rest[-(1 << 20) :]
            for line in whole:
                if lines.full():
                    lines.get()
                lines.put(line.decode("utf-8", errors="replace"))
        if rest:
            lines.put(rest.decode("utf-8", errors="replace"))

    threading.Thread(target=follow, daemon=True).start()
    try:
        yield lines
    finally:
        done.set()


def drained(lines: "queue.Queue[str]") -> Iterator[str]:
    """What is there now."""
    while True:
        try:
            yield lines.get_nowait()
        except queue.Empty:
            return


def _memory(prepared: Prepared, running: Running) -> dict[str, Any]:
    """Bytes in RAM of the engine beside what was predicted for the RAM of this machine."""
    budget = prepared.evaluated.budget if prepared.evaluated is not None else None
    predicted = budget.host_bytes if budget is not None and not budget.devices else None
    return {
        "resident_bytes": running.resident_bytes,
        "before_bytes": running.before_bytes,
        "grown_bytes": running.grown_bytes,
        "predicted_bytes": predicted,
    }


def reconciled(ledger: Ledger) -> tuple[Run, ...]:
    """Servers that the ledger holds for open, after a look at their processes; what died without a word is `lost`."""
    found = []
    for run in ledger.runs((Kind.SERVE,), (State.STARTING, State.READY)):
        kept = None if run.process is None else Kept.read(run.process)
        if kept is not None and kept.is_alive and kept.exit is None:
            found.append(run)
        elif kept is not None or time.time() - run.started_s > _STEP_WAIT_S:
            folder = run_folder(run.id)
            processes.sweep(folder)
            state = State.LOST if kept is None or kept.exit is None else _state_of(kept.exit)
            ledger.end(run.id, state, log_tail="\n".join(processes.log_tail(folder)[-_TAIL_LINES:]))
    return tuple(found)


def _state_of(told: Mapping[str, Any]) -> State:
    return State.STOPPED if told.get("asked_by") in {"stop", "owner"} else State.FAILED


def stop_run(ledger: Ledger, run: Run) -> Run:
    """Ends a server and everything of it."""
    if run.process is not None:
        processes.stop(Kept.read(run.process))
    processes.sweep(run_folder(run.id))
    return ledger.end(run.id, State.STOPPED, log_tail="\n".join(processes.log_tail(run_folder(run.id))[-_TAIL_LINES:]))
