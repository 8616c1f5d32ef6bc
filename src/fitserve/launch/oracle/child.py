"""A process that asks an engine: watched, limited in time and memory, and gone with us, whatever way we go."""

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import psutil

from fitserve.foundation.errors import WorldError

_POLL_S = 0.1
_CHUNK = 1 << 16
_MOST_LOG_BYTES = 1 << 27
_TAIL_LINES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What a process printed on standard error and output together, and why it ended: exit, answered, timeout, memory, log."""

    text: str
    ended: str
    code: int | None

    @property
    def tail(self) -> str:
        """Its last lines."""
        return "\n".join(line for line in self.text.splitlines()[-_TAIL_LINES:] if line.strip())


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a process may take."""

    seconds: float
    memory_bytes: int


def ask(
    argv: Sequence[str],
    limits: Limits,
    is_answered: Callable[[bytes | bytearray], bool],
    env: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
) -> Ran:
    """Runs a process until its output is an answer, it ends, or a limit is reached; nothing of it is left afterwards.

    `is_answered` is given the output so far whenever there is more of it. Raises WorldError when it cannot be started.
    """
    try:
        process = subprocess.Popen(  # noqa: S603
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            pass_fds=tuple(pass_fds),
            start_new_session=True,
        )
    except OSError as error:
        raise WorldError(f"start {argv[0]}", error.strerror or str(error)) from error
    try:
        return _watch(process, limits, is_answered)
    finally:
        _end(process)


def _watch(process: subprocess.Popen[bytes], limits: Limits, is_answered: Callable[[bytes | bytearray], bool]) -> Ran:
    assert process.stdout is not None
    output = bytearray()
    end = time.monotonic() + limits.seconds
    why = "exit"
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while True:
            if selector.select(_POLL_S):
                piece = os.read(process.stdout.fileno(), _CHUNK)
                output += piece
                if not piece:
                    break
                if is_answered(output):
                    why = "answered"
                    break
            if process.poll() is not None and not selector.select(0):
                break  # a grandchild may hold the pipe open
            why = _limit(process, limits, end, len(output))
            if why != "exit":
                break
    if why == "exit":
        _wait(process)
    return Ran(text=output.decode("utf-8", "replace"), ended=why, code=process.returncode)


def _limit(process: subprocess.Popen[bytes], limits: Limits, end: float, log_bytes: int) -> str:
    """The limit that is reached; `exit` while none is."""
    if time.monotonic() > end:
        return "timeout"
    if log_bytes > _MOST_LOG_BYTES:
        return "log"
    try:
        used = psutil.Process(process.pid).memory_info().rss
    except psutil.Error:
        return "exit"
    return "memory" if used > limits.memory_bytes else "exit"


def _wait(process: subprocess.Popen[bytes]) -> None:
    try:
        process.wait(timeout=5)
    except subprocess.TimeoutExpired:
        return


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ends the process and everything that it started in its group."""
    try:
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
    except (ProcessLookupError, PermissionError):
        pass
    if process.stdout is not None:
        process.stdout.close()
    process.wait()
