"""Programs that are asked something, with a limit on their time: a driver that hangs must not hang us."""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from shutil import which


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What a program printed; `code` None: it did not end in time and was stopped."""

    code: int | None
    out: str
    errors: str


def run_bounded(command: Sequence[str], timeout_s: float, environment: Mapping[str, str] | None = None) -> Ran | None:
    """What the program printed until it ended or its time was over; None when it cannot be started.

    A process that waits inside a driver cannot be killed; it is left behind rather than waited for.
    """
    try:
        process = subprocess.Popen(  # noqa: S603 - fixed commands of this package
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=None if environment is None else dict(environment),
        )
    except OSError:
        return None
    try:
        out, errors = process.communicate(timeout=timeout_s)
        code: int | None = process.returncode
    except subprocess.TimeoutExpired:
        process.kill()
        code = None
        try:
            out, errors = process.communicate(timeout=2)
        except subprocess.TimeoutExpired as stuck:
            out, errors = stuck.stdout or b"", b""
    return Ran(code=code, out=out.decode(errors="replace"), errors=errors.decode(errors="replace"))


def printed(program: str, *arguments: str, timeout_s: float = 5) -> str | None:
    """Standard output of a program that is on the path and ends well; None otherwise."""
    found = which(program)
    ran = None if found is None else run_bounded([found, *arguments], timeout_s)
    return ran.out if ran is not None and ran.code == 0 else None
