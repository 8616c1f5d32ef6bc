"""Runs a quantization job on this machine: steps in order, finished ones skipped, the disk looked at, progress told.

A GGUF mix is made by `llama-quantize` where that is on the path, else by a libllama of the user's (`--program`, or the
package @node-llama-cpp below the current folder). The result appears under its name when it is whole.
"""

import re
import shutil
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fitserve.foundation.errors import InputError, LaunchFailed

FILE_TYPES = {
    "F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q2_K": 10, "Q3_K_S": 11, "Q3_K_M": 12,
    "Q3_K_L": 13, "Q4_K_S": 14, "Q4_K_M": 15, "Q5_K_S": 16, "Q5_K_M": 17, "Q6_K": 18, "IQ2_XXS": 19, "IQ2_XS": 20,
    "Q2_K_S": 21, "IQ3_XS": 22, "IQ3_XXS": 23, "IQ1_S": 24, "IQ4_NL": 25, "IQ3_S": 26, "IQ3_M": 27, "IQ2_S": 28,
    "IQ2_M": 29, "IQ4_XS": 30, "IQ1_M": 31, "BF16": 32, "TQ1_0": 36, "TQ2_0": 37, "MXFP4_MOE": 38,
}  # fmt: skip
"""`enum llama_ftype` of llama.h, v0.5.0."""
_TENSOR = re.compile(r"\[\s*(\d+)/\s*(\d+)\]\s+(\S+)")
_TAIL_LINES = 20
_LIBRARIES = "node_modules/@node-llama-cpp/*/bins/*/libllama.*so*"
_GGUF_START = b"GGUF"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A line of the tool; `done` of `whole` tensors where it says so."""

    line: str
    done: int | None = None
    whole: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One step: what to run, what it makes, and how large that will be."""

    argv: tuple[str, ...]
    makes: Path
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What a job made. `skipped`: results that were there already."""

    path: Path
    bytes: int
    seconds: float
    skipped: tuple[Path, ...]


def library_here(program: str | None, folder: Path) -> str | None:
    """The libllama to use: the one that was named, or that of a package below the folder."""
    if program is not None:
        return program if ".so" in Path(program).name or program.endswith((".dylib", ".dll")) else None
    found = sorted(folder.glob(_LIBRARIES))
    return str(found[-1]) if found else None


def runnable(argv: Sequence[str], mix: str | None, program: str | None, folder: Path) -> tuple[str, ...] | None:
    """The arguments that run a step here; None where its tool is not on this machine."""
    name = argv[0]
    if name == "llama-quantize" and mix is not None:
        library = library_here(program, folder)
        if library is not None:
            return _through_library(argv, library, mix)
    if program is not None and Path(program).name.startswith(Path(name).name):
        return (program, *argv[1:])
    if name == "python" and program is not None:
        return (program, *argv[1:])
    found = shutil.which(name)
    return (found, *argv[1:]) if found is not None and name != "python" else None


def _through_library(argv: Sequence[str], library: str, mix: str) -> tuple[str, ...] | None:
    if "--imatrix" in argv or mix not in FILE_TYPES:
        return None
    source, target = argv[1], argv[2]
    return (sys.executable, "-m", "fitserve.launch.quantize_child", library, source, target, str(FILE_TYPES[mix]), "0")


def run_steps(work: Sequence[Work], tell: Callable[[Progress], None]) -> Done:
    """Runs what is not there yet. Raises InputError for a disk that is too small, LaunchFailed for a tool that fails."""
    skipped = tuple(item.makes for item in work if is_there(item))
    rest = [item for item in work if not is_there(item)]
    folder = work[-1].makes.absolute().parent
    free, wanted = shutil.disk_usage(folder).free, sum(item.bytes for item in rest)
    if wanted > free:
        raise InputError.of("disk_too_small", where=str(folder), need_bytes=wanted, free_bytes=free)
    started = time.monotonic()
    for item in rest:
        _run(item, tell)
    made = work[-1].makes
    return Done(path=made, bytes=_size(made), seconds=time.monotonic() - started, skipped=skipped)


def is_there(item: Work) -> bool:
    """Whether a step's result exists whole: it gets its name only then."""
    path = item.makes
    if path.is_dir():
        return (path / "config.json").exists()
    if not path.is_file():
        return False
    if path.suffix == ".gguf":
        with path.open("rb") as file:
            return file.read(len(_GGUF_START)) == _GGUF_START
    return True


def _size(path: Path) -> int:
    return (
        sum(item.stat().st_size for item in path.rglob("*") if item.is_file()) if path.is_dir() else path.stat().st_size
    )


def _run(item: Work, tell: Callable[[Progress], None]) -> None:
    """One step; a file is written beside its name and renamed at the end."""
    part = item.makes.with_name(f".{item.makes.name}.part")
    is_file = item.makes.suffix == ".gguf"
    argv = [str(part) if is_file and word == str(item.makes) else word for word in item.argv]
    tail: deque[str] = deque(maxlen=_TAIL_LINES)
    try:
        with subprocess.Popen(  # noqa: S603 - a step of the job, an argument list
            argv,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
        ) as process:
            try:
                for line in process.stdout or ():
                    tail.append(line.rstrip())
                    tell(progress_of(line.rstrip()))
            except BaseException:
                process.kill()
                raise
        if process.returncode != 0:
            raise LaunchFailed(" ".join(argv[:3]), "\n".join(tail) or f"exit code {process.returncode}")
        if is_file:
            part.replace(item.makes)
    except OSError as error:
        raise LaunchFailed(" ".join(argv[:3]), error.strerror or str(error)) from error
    finally:
        if is_file:
            part.unlink(missing_ok=True)


def progress_of(line: str) -> Progress:
    """The progress that a line of a tool tells."""
    found = _TENSOR.search(line)
    if found is None:
        return Progress(line=line)
    return Progress(line=found[3], done=int(found[1]), whole=int(found[2]))
