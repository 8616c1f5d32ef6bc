"""Another program, run to its end: its output line by line, stopped with all that it started."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

_LAST_LINES: Final = 500
_LOOK_S: Final = 0.2
_GRACE_S: Final = 5.0
_LINE_BYTES: Final = 1 << 16


def run_program(
    argv: Sequence[str], env: Mapping[str, str], folder: Path, on_line: Callable[[str], None] | None = None,
    cancel: threading.Event | None = None,
) -> tuple[int | None, str]:  # fmt: skip
    """(exit code, last lines of both outputs); None for the code when `cancel` stopped it. Raises OSError.

    A progress bar counts as a line each time it is drawn anew.
    """
    kept: deque[str] = deque(maxlen=_LAST_LINES)
    process = subprocess.Popen(  # noqa: S603 - the caller names a program on purpose
        list(argv), cwd=folder, env=dict(env), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    reader = threading.Thread(target=_read, args=(process.stdout.fileno(), kept, on_line), daemon=True)
    reader.start()
    stopped = False
    try:
        while True:
            try:
                code = process.wait(timeout=_LOOK_S)
                break
            except subprocess.TimeoutExpired:
                if cancel is not None and cancel.is_set():
                    stopped = True
                    break
    finally:
        _stop(process)
        reader.join(timeout=_GRACE_S)
        process.stdout.close()
    return None if stopped else code, "\n".join(kept)


def _read(source: int, kept: deque[str], on_line: Callable[[str], None] | None) -> None:
    rest = b""
    with contextlib.suppress(OSError):
        while data := os.read(source, _LINE_BYTES):
            *lines, rest = (rest + data).replace(b"\r", b"\n").split(b"\n")
            rest = rest[-_LINE_BYTES:]
            for line in lines:
                _take(line, kept, on_line)
    _take(rest, kept, on_line)


def _take(line: bytes, kept: deque[str], on_line: Callable[[str], None] | None) -> None:
    text = line.decode(errors="replace").rstrip()
    if text:
        kept.append(text)
        if on_line is not None:
            on_line(text)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ends the program and what it started, also where the program itself is over."""
    for kind in (signal.SIGTERM, signal.SIGKILL) if sys.platform != "win32" else ():
        with contextlib.suppress(OSError):
            os.killpg(process.pid, kind)
        if process.poll() is not None:
            continue
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=_GRACE_S)
    if process.poll() is None:
        process.kill()
        process.wait()


def reason_in(output: str) -> str:
    """The line of an output that says what went wrong: the last that names an error, else the last."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    named = [line for line in lines if "Error" in line or "error:" in line.lower()]
    return (named or lines or ["?"])[-1][:300]
