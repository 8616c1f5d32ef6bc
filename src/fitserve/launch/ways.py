"""How a launch command is run on this machine: by the engine's own program, in a container, or by the embedded llama.cpp."""

import importlib.util
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from shutil import which

from fitserve.emit.containers import docker_argv
from fitserve.engines.contract import Engine, LaunchCommand
from fitserve.engines.registry import engines


class Kind(StrEnum):
    """What runs it."""

    NATIVE = "native"
    CONTAINER = "container"
    EMBEDDED = "embedded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """The arguments to start, and what is to be run when it ends (a container outlives its client)."""

    kind: Kind
    argv: tuple[str, ...]
    cleanup: tuple[str, ...] = ()


@lru_cache(maxsize=1)
def embedded_engine() -> Engine:
    """The engine that fitserve carries: the one whose facts name the wheel it comes in."""
    return next(made for made in engines() if "embedded" in made.facts)


def has_embedded() -> bool:
    """Whether the wheel of the embedded engine is installed."""
    return importlib.util.find_spec(embedded_engine().facts["embedded"]["package"]) is not None


def _is_for_embedded(command: LaunchCommand) -> bool:
    return bool(command.argv[0] == embedded_engine().facts["embedded"]["program"])


def ways(command: LaunchCommand, name: str, has_devices: bool, program: str | None = None) -> tuple[Way, ...]:
    """Every way in which this machine could run a command, best first; empty when there is none.

    `name` is that of a container; `has_devices` says that the command expects a GPU, which the embedded engine does not
    use; `program` is a path that the user named for the engine's program.
    """
    found: list[Way] = []
    native = _native(command.argv, program)
    if native is not None:
        found.append(Way(kind=Kind.NATIVE, argv=native))
    if program is None and not has_devices and _is_for_embedded(command) and has_embedded():
        found.append(Way(kind=Kind.EMBEDDED, argv=embedded_argv(command.argv)))
    container = docker_argv(command) if program is None and which("docker") is not None else None
    if container is not None:
        found.append(
            Way(kind=Kind.CONTAINER, argv=_attached(container, name), cleanup=("docker", "rm", "--force", name))
        )
    return tuple(found)


def embedded_argv(argv: Sequence[str]) -> tuple[str, ...]:
    """The same options, for the embedded engine."""
    return (sys.executable, "-m", "fitserve.launch.embedded", *argv[1:])


def _native(argv: Sequence[str], program: str | None) -> tuple[str, ...] | None:
    """With the program where it lies; None when it is not on this machine."""
    if program is not None:
        return (program, *argv[1:])
    if argv[0] in {"python", "python3"} and len(argv) > 2 and argv[1] == "-m":
        package = argv[2].partition(".")[0]
        return (sys.executable, *argv[1:]) if importlib.util.find_spec(package) is not None else None
    found = which(argv[0]) or _beside(argv[0])
    return None if found is None else (found, *argv[1:])


def _beside(program: str) -> str | None:
    """A program of the environment that this runs in, also when it is not activated."""
    path = Path(sys.executable).parent / program
    return str(path) if path.is_file() else None


def _attached(argv: Sequence[str], name: str) -> tuple[str, ...]:
    """`docker run` without a terminal, under a name by which it can be removed, in the foreground."""
    words = [word for word in argv if word not in {"-it", "--detach"}]
    if "--name" in words:
        words[words.index("--name") + 1] = name
    else:
        words[2:2] = ["--name", name]
    if "--rm" not in words:
        words[2:2] = ["--rm"]
    return tuple(words)
