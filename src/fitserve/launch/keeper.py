"""The process that keeps an engine: `python -m fitserve.launch.keeper`, told what to do by one line of JSON.

The line comes on standard input, because a command may hold a key; the environment is handed on as it is. It starts the
engine as its child, copies what the engine prints into a log of bounded size and to its own standard output, and ends with
it. Nothing outlives it: the kernel kills the engine when its keeper dies, whatever the engine left behind is adopted and
ended, and a guard does so when the keeper is killed (all three on Linux); a tied keeper stops when the standard input that
its owner holds closes, so that a killed owner takes everything along. Standard library and psutil only: it must start at once.

Files in the folder of the run: `keeper.json` (who runs), `engine.log` and `engine.tail.log` (first and last part of the
output), `exit.json` (how it ended); each appears whole.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import psutil

HEAD_BYTES = 16 << 20
TAIL_BYTES = 16 << 20
RUN_VARIABLE = "FITSERVE_RUN"
_CHUNK = 1 << 16
_GRACE_S = 15.0
_KILLED_S = 5.0
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
_STDOUT = 1
_LINUX = sys.platform == "linux"


class BoundedLog:
    """The first part of an output in one file, the last in another that is begun anew when it is full; bytes, unchanged."""

    def __init__(self, folder: Path, head_bytes: int = HEAD_BYTES, tail_bytes: int = TAIL_BYTES) -> None:
        self.head, self.tail = folder / "engine.log", folder / "engine.tail.log"
        self._older = folder / "engine.tail.1.log"
        self._left, self._tail_bytes = head_bytes, tail_bytes
        self._file: IO[bytes] = _opened(self.head)
        self._is_head = True

    def write(self, data: bytes) -> None:
        """Appends. A disk that is full loses output, never the engine."""
        while data:
            part, data = data[: self._left], data[self._left :]
            with contextlib.suppress(OSError):
                self._file.write(part)
            self._left -= len(part)
            if self._left <= 0:
                self._turn()

    def _turn(self) -> None:
        self._file.close()
        if not self._is_head:
            with contextlib.suppress(OSError):
                self.tail.replace(self._older)
        self._is_head, self._left = False, self._tail_bytes
        self._file = _opened(self.tail)

    def close(self) -> None:
        """Ends the file."""
        self._file.close()


def _opened(path: Path) -> IO[bytes]:
    """The file, or nowhere when the disk takes none."""
    try:
        return path.open("wb", buffering=0)
    except OSError:
        return Path(os.devnull).open("wb", buffering=0)


def write_whole(path: Path, value: Mapping[str, Any]) -> None:
    """A JSON file that appears at once."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(json.dumps(value), encoding="utf-8")
    beside.replace(path)


def _prctl(option: int, value: int) -> None:
    if _LINUX:
        import ctypes

        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _die_with_keeper() -> None:
    """Runs in the child before the engine's program does."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Keeper:
    """One engine. `spec`: argv, cwd, folder, tied, grace_s, cleanup (an argument list, or none)."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self._spec = spec
        self._argv: list[str] = list(spec["argv"])
        self._folder = Path(spec["folder"])
        self._stop = threading.Event()
        self._asked_by = "self"
        self._guard = 0

    def run(self) -> int:
        """Starts, waits, ends; the exit code of the engine, negative for a signal."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._asked)
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
        if _LINUX:
            self._guard = _guarded()
        engine = self._start()
        if engine is None:
            return 127
        own = psutil.Process()
        write_whole(
            self._folder / "keeper.json",
            {"keeper_pid": own.pid, "keeper_started_s": own.create_time(), "engine_pid": engine.pid},
        )
        copier = self._thread(lambda: self._copy(engine))
        if self._spec["tied"]:
            self._thread(self._watch_owner)
        while engine.poll() is None and not self._stop.wait(0.1):
            pass
        code = self._end(engine)
        copier.join(timeout=2.0)
        self._over(code)
        return code

    def _asked(self, *_: object) -> None:
        self._asked_by = "stop"
        self._stop.set()

    @staticmethod
    def _thread(work: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        return thread

    def _start(self) -> subprocess.Popen[bytes] | None:
        try:
            return subprocess.Popen(  # noqa: S603 - the command of the plan, an argument list; no thread runs yet
                self._argv, cwd=str(self._spec["cwd"]), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, bufsize=0, preexec_fn=_die_with_keeper if _LINUX else None,  # noqa: PLW1509 - see above
            )  # fmt: skip
        except OSError as error:
            (self._folder / "engine.log").write_text(f"{self._argv[0]}: {error}\n", encoding="utf-8")
            self._over(127)
            return None

    def _copy(self, engine: subprocess.Popen[bytes]) -> None:
        """Output to the log and on to the owner. An owner that is slow or gone loses lines; the log does not."""
        log, is_heard = BoundedLog(self._folder), True
        if os.name != "nt":
            os.set_blocking(_STDOUT, False)
        assert engine.stdout is not None
        while data := engine.stdout.read(_CHUNK):
            log.write(data)
            try:
                if is_heard:
                    os.write(_STDOUT, data)
            except BlockingIOError:
                continue
            except OSError:
                is_heard = False
        log.close()

    def _watch_owner(self) -> None:
        """The pipe ends when the owner does; a byte on it sets the keeper free."""
        with contextlib.suppress(OSError):
            if os.read(0, 1):
                return
        self._asked_by = "owner"
        self._stop.set()

    def _end(self, engine: subprocess.Popen[bytes]) -> int:
        """Ends the engine and everything that it started: asked first, then killed."""
        before = self._descendants()
        if engine.poll() is None:
            with contextlib.suppress(OSError):
                engine.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                engine.wait(self._spec.get("grace_s", _GRACE_S))
        others = [process for process in {*before, *self._descendants()} if process.pid != engine.pid]
        for process in others:
            with contextlib.suppress(psutil.Error):
                process.terminate()
        _, alive = psutil.wait_procs(others, timeout=_KILLED_S if engine.poll() is not None else 0)
        if engine.poll() is None:
            engine.kill()
        for process in alive:
            with contextlib.suppress(psutil.Error):
                process.kill()
        code = engine.wait()
        if self._spec.get("cleanup"):
            subprocess.run(self._spec["cleanup"], check=False, capture_output=True, timeout=60)  # noqa: S603
        return code

    def _descendants(self) -> list[psutil.Process]:
        try:
            return [process for process in psutil.Process().children(recursive=True) if process.pid != self._guard]
        except psutil.Error:
            return []

    def _over(self, code: int) -> None:
        name = signal.Signals(-code).name if code < 0 else None
        told = {"code": code, "signal": name, "asked_by": self._asked_by, "ended_s": time.time()}
        with contextlib.suppress(OSError):
            write_whole(self._folder / "exit.json", told)


def _guarded() -> int:
    """Forks a guard that ends this session's processes when the keeper is gone, however it went; its process number."""
    awake, life = os.pipe()
    if (number := os.fork()) != 0:
        os.close(awake)
        return number
    os.close(life)
    for stream in (0, 1, 2):
        with contextlib.suppress(OSError):
            os.close(stream)
    for asked in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(asked, signal.SIG_IGN)
    os.read(awake, 1)  # returns when the keeper has ended, for nothing is ever written
    session, me = os.getsid(0), os.getpid()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != me and os.getsid(process.pid) == session:
                process.kill()
    os._exit(0)


def main() -> int:
    """Reads the line and keeps."""
    with os.fdopen(0, "rb", buffering=0, closefd=False) as told:
        return Keeper(json.loads(told.readline())).run()


if __name__ == "__main__":
    code = main()
    sys.stdout = None  # the owner may be gone, and flushing to nobody would fail
    os._exit(code if code >= 0 else 128 - code)
