"""Keepers and what they keep, seen from outside: start one, ask how it is, stop it, find what was left behind."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import psutil

from fitserve.foundation.errors import LaunchFailed
from fitserve.launch.keeper import RUN_VARIABLE

_STARTS_WITHIN_S = 20.0
_STOPS_WITHIN_S = 30.0
_SAME_START_S = 2.0  # psutil rounds the start of a process to clock ticks


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A keeper that runs an engine. `folder`: of the run, with its log and how it ended."""

    folder: Path
    keeper_pid: int
    keeper_started_s: float
    engine_pid: int

    @property
    def form(self) -> dict[str, Any]:
        """As the ledger keeps it."""
        return {
            "keeper_pid": self.keeper_pid,
            "keeper_started_s": self.keeper_started_s,
            "engine_pid": self.engine_pid,
            "folder": str(self.folder),
        }

    @classmethod
    def read(cls, form: Mapping[str, Any]) -> "Kept":
        """From what the ledger kept."""
        return cls(
            folder=Path(form["folder"]), keeper_pid=form["keeper_pid"], keeper_started_s=form["keeper_started_s"],
            engine_pid=form["engine_pid"],
        )  # fmt: skip

    @property
    def is_alive(self) -> bool:
        """Whether this very keeper runs, not another process that got its number."""
        try:
            process = psutil.Process(self.keeper_pid)
            started = float(process.create_time())
            return abs(started - self.keeper_started_s) < _SAME_START_S and str(process.status()) != "zombie"
        except psutil.Error:
            return False

    @property
    def exit(self) -> Mapping[str, Any] | None:
        """`code`, `signal`, `asked_by`, `ended_s`; None while it runs, or when it was killed without a word."""
        return _read(self.folder / "exit.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """What the process that started a keeper holds of it: its life line and what the engine prints."""

    kept: Kept
    life: IO[bytes]
    output: IO[bytes]
    popen: "subprocess.Popen[bytes]"

    def let_go(self) -> None:
        """Closes both ends; a tied keeper stops."""
        with contextlib.suppress(OSError):
            self.life.close()
        with contextlib.suppress(OSError):
            self.output.close()


def start(
    argv: Sequence[str], environment: Mapping[str, str], folder: Path, tied: bool,
    cleanup: Sequence[str] = (), cwd: Path | None = None,
) -> Owner:  # fmt: skip
    """Starts a keeper. Raises LaunchFailed when it does not come up, or the program cannot be started."""
    spec = {
        "argv": list(argv), "cwd": str(cwd or folder), "folder": str(folder), "tied": tied, "cleanup": list(cleanup)
    }  # fmt: skip
    for name in ("keeper.json", "exit.json"):
        (folder / name).unlink(missing_ok=True)
    popen = subprocess.Popen(
        [sys.executable, "-m", "fitserve.launch.keeper"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, env={**os.environ, **environment, RUN_VARIABLE: str(folder)},
        start_new_session=True, bufsize=0,
    )  # fmt: skip
    assert popen.stdin is not None
    assert popen.stdout is not None
    try:
        popen.stdin.write(json.dumps(spec).encode() + b"\n")
        if not tied:
            popen.stdin.close()
        told = _first_word(popen, folder, argv[0])
    except BaseException:
        popen.stdin.close()
        popen.stdout.close()
        popen.kill()
        popen.wait()
        raise
    kept = Kept(folder=folder, **told)
    return Owner(kept=kept, life=popen.stdin, output=popen.stdout, popen=popen)


def _first_word(popen: "subprocess.Popen[bytes]", folder: Path, program: str) -> Mapping[str, Any]:
    """What the keeper says of itself. Raises LaunchFailed when it ends or says nothing."""
    deadline = time.monotonic() + _STARTS_WITHIN_S
    while (told := _read(folder / "keeper.json")) is None:
        if popen.poll() is not None or time.monotonic() > deadline:
            raise LaunchFailed(program, "\n".join(log_tail(folder)) or f"exit {popen.poll()}")
        time.sleep(0.02)
    return told


def stop(kept: Kept) -> None:
    """Asks the keeper to end, kills it when it does not, and ends what it may have left."""
    if kept.is_alive:
        with contextlib.suppress(psutil.Error):
            keeper = psutil.Process(kept.keeper_pid)
            keeper.terminate()
            try:
                keeper.wait(_STOPS_WITHIN_S)
            except psutil.TimeoutExpired:
                keeper.kill()
    sweep(kept.folder)


def sweep(folder: Path) -> int:
    """Kills what still carries the mark of a run; how many there were."""
    left = list(marked(folder))
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(left, timeout=5)
    return len(left)


def marked(folder: Path) -> Iterator[psutil.Process]:
    """Processes of this user that were started for the run of this folder.

    By their environment, and by their session, because a program that gives itself a title writes over its environment.
    """
    me, session = os.getpid(), _session(folder)
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid == me:
                continue
            if process.environ().get(RUN_VARIABLE) == str(folder) or (session and os.getsid(process.pid) == session):
                yield process


def _session(folder: Path) -> int | None:
    """The session that the keeper of a run leads; None when its number now belongs to somebody else.

    A number is not given anew while a session of that number has members.
    """
    told = _read(folder / "keeper.json")
    if told is None or not hasattr(os, "getsid"):
        return None
    number = int(told["keeper_pid"])
    try:
        started = float(psutil.Process(number).create_time())
    except psutil.Error:
        return number
    return number if abs(started - told["keeper_started_s"]) < _SAME_START_S else None


def resident_bytes(kept: Kept) -> int | None:
    """Memory of the engine and its children that is in RAM; None when it is gone."""
    try:
        engine = psutil.Process(kept.engine_pid)
        return sum(int(process.memory_info().rss) for process in (engine, *engine.children(recursive=True)))
    except psutil.Error:
        return None


def log_tail(folder: Path, most_bytes: int = 64 << 10) -> list[str]:
    """The last lines that the engine printed."""
    data = b""
    for name in ("engine.tail.1.log", "engine.tail.log") if (folder / "engine.tail.log").exists() else ("engine.log",):
        with contextlib.suppress(OSError), (folder / name).open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - most_bytes))
            data += file.read()
    return data[-most_bytes:].decode("utf-8", errors="replace").splitlines()


def log_parts(folder: Path) -> tuple[Path, ...]:
    """The files of the log in the order in which they were written."""
    names = ("engine.log", "engine.tail.1.log", "engine.tail.log")
    return tuple(folder / name for name in names if (folder / name).exists())


def _read(path: Path) -> Mapping[str, Any] | None:
    try:
        told: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return told
