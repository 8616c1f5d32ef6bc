"""Which program a statement starts: wrappers and containers taken off, engines found by the data of their folders."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from fitserve.check.types import Finding, Statement
from fitserve.engines.contract import Engine, no_options
from fitserve.engines.registry import engines
from fitserve.foundation.facts import load_toml
from fitserve.foundation.reasons import not_supported, note, warning

_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)
_PYTHON = re.compile(r"(python[\d.]*|py)(\.exe)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """The container that a program runs in; words before `arguments_start` belong to docker."""

    image: str
    tag: str
    image_index: int
    options: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """A statement with its program. `start`: index of the first argument. `engine` is None for other tools."""

    statement: Statement
    program: str
    start: int
    engine: Engine | None = None
    container: Container | None = None
    env: Mapping[str, str] = field(default_factory=no_options)
    findings: tuple[Finding, ...] = ()

    @property
    def arguments(self) -> tuple[str, ...]:
        """Words after the program."""
        return self.statement.argv[self.start :]

    def line_of(self, index: int) -> int:
        """Line of a word of the statement."""
        words = self.statement.words
        return words[min(index, len(words) - 1)].line if words else 0


@lru_cache(maxsize=1)
def _facts() -> Mapping[str, Any]:
    return load_toml("fitserve.check", "programs.toml")


@lru_cache(maxsize=1)
def _engine_programs() -> tuple[tuple[tuple[str, ...], Engine], ...]:
    """(words of a program, engine), longest first."""
    found = [
        (tuple(text.split()), made)
        for made in engines()
        for text in made.facts.get("command_line", {}).get("programs", ())
    ]
    return tuple(sorted(found, key=lambda item: -len(item[0])))


@lru_cache(maxsize=1)
def _engine_images() -> Mapping[str, Engine]:
    return {name: made for made in engines() for name in made.facts.get("command_line", {}).get("images", ())}


def invocation(statement: Statement) -> Invocation | None:
    """The program of a statement; None for an empty one."""
    argv = statement.argv
    start = _skip_wrappers(argv)
    if start >= len(argv):
        return None
    env = {**statement.env, **dict(word.split("=", 1) for word in argv[:start] if _ASSIGNMENT.fullmatch(word))}
    if argv[start] in {"docker", "podman", "nerdctl"} and argv[start + 1 : start + 2] == ("run",):
        return _in_container(statement, start + 2, env)
    found = _program(argv[start:])
    if found is not None:
        words, made = found
        return Invocation(statement=statement, program=" ".join(words), start=start + len(words), engine=made, env=env)
    name = base_name(argv[start])
    program, count = _tool(name, argv[start:])
    return Invocation(statement=statement, program=program, start=start + count, env=env)


def _skip_wrappers(argv: Sequence[str]) -> int:
    """Index of the program: `sudo`, `nohup`, `env A=b`, `uv run` and the like stand before it."""
    wrappers: Mapping[str, Sequence[str]] = _facts()["wrappers"]
    index = 0
    while index < len(argv):
        word = argv[index]
        if _ASSIGNMENT.fullmatch(word) and index + 1 < len(argv):
            index += 1
        elif word in wrappers:
            index += 1
            while index < len(argv) and argv[index].startswith("-"):
                index += 2 if argv[index] in wrappers[word] else 1
            if word in {"uv", "conda", "poetry", "pixi"}:
                index += int(argv[index : index + 1] == ["run"] or argv[index : index + 1] == ("run",))
        else:
            break
    return index


def base_name(path: str) -> str:
    """`main` of `./build/bin/main`, `llama-server` of a Windows path with .exe."""
    name = PurePosixPath(PureWindowsPath(path).as_posix()).name
    return re.sub(r"\.(exe|py|sh|bat|cmd)$", "", name, flags=re.IGNORECASE) if not name.endswith(".py") else name


def _same(word: str, pattern: str) -> bool:
    if pattern == "python":
        return bool(_PYTHON.fullmatch(base_name(word)))
    if pattern.startswith("./"):
        return base_name(word) == pattern[2:] and (word.startswith((".", "/")) or word == pattern[2:])
    return base_name(word) == pattern or word == pattern


def _program(argv: Sequence[str]) -> tuple[tuple[str, ...], Engine] | None:
    for words, made in _engine_programs():
        if len(argv) >= len(words) and all(_same(word, pattern) for word, pattern in zip(argv, words, strict=False)):
            return words, made
    return None


def _tool(name: str, argv: Sequence[str]) -> tuple[str, int]:
    """Name of a tool that is no engine, with its subcommand or module, and how many words that takes."""
    if _PYTHON.fullmatch(name) and len(argv) > 2 and argv[1] == "-m":
        return argv[2], 3
    if _PYTHON.fullmatch(name) and len(argv) > 1:
        return base_name(argv[1]), 2
    if name in _facts()["with_subcommand"] and len(argv) > 1 and not argv[1].startswith("-"):
        return f"{name} {argv[1]}", 2
    return name, 1


def _in_container(statement: Statement, start: int, env: Mapping[str, str]) -> Invocation:
    argv = statement.argv
    index, options = _docker_options(argv, start)
    if index >= len(argv):
        reason = not_supported("docker_without_image", option="docker run", what="docker run", line=statement.line)
        return Invocation(statement=statement, program="docker run", start=index, findings=(Finding(reason=reason),))
    name, tag = split_image(argv[index])
    container = Container(image=name, tag=tag, image_index=index, options=options)
    inner_env = {**env, **dict(word.split("=", 1) for word in options.get("-e", ()) if "=" in word)}
    made = _engine_images().get(name)
    entry = options.get("--entrypoint", ())
    inside = _program([*entry, *argv[index + 1 :]]) if entry else _program(argv[index + 1 :])
    used = max(0, len(inside[0]) - len(entry)) if inside else 0
    if inside is not None:
        made = inside[1]
    program = " ".join(inside[0]) if inside else _entry_of(made)
    made_env = Invocation(
        statement=statement, program=program, start=index + 1 + used, engine=made, container=container, env=inner_env
    )
    return Invocation(
        statement=statement,
        program=program,
        start=index + 1 + used,
        engine=made,
        container=container,
        env=inner_env,
        findings=tuple(_container_findings(made_env)),
    )


def _entry_of(made: Engine | None) -> str:
    """What an image starts without an entry point of the user's own: the first program of its engine."""
    return str(made.facts["command_line"]["programs"][0]) if made is not None else "docker run"


def split_image(text: str) -> tuple[str, str]:
    """(name, tag) of an image; without a tag it is `latest`."""
    name, _, _ = text.partition("@")
    head, colon, tag = name.rpartition(":")
    return (head, tag) if colon and "/" not in tag else (name, "latest")


def _docker_options(argv: Sequence[str], start: int) -> tuple[int, Mapping[str, tuple[str, ...]]]:
    """Index of the image, and the values of docker's own options under their short names."""
    takes: Mapping[str, str] = _facts()["docker_options"]
    found: dict[str, tuple[str, ...]] = {}
    index = start
    while index < len(argv) and argv[index].startswith("-"):
        name, equals, value = argv[index].partition("=")
        key = takes.get(name)
        if key is None and re.fullmatch(r"-[itdP]+", name):
            key = ""
        if key and not equals:
            index += 1
            value = argv[index] if index < len(argv) else ""
        canonical = key or name
        found[canonical] = (*found.get(canonical, ()), value)
        index += 1
    return index, found


def _container_findings(made: Invocation) -> Iterator[Finding]:
    """What a container lacks: GPUs, shared memory; a tag that moves."""
    container, line = made.container, made.statement.line
    if container is None or made.engine is None:
        return
    options = container.options
    if container.tag == "latest":
        yield Finding(
            reason=note("image_not_pinned", option=container.image, what=f"{container.image}:latest", line=line)
        )
    has_gpu = "--gpus" in options or "--runtime" in options or "--device" in options
    if made.engine.needs_accelerator and not has_gpu:
        yield Finding(reason=not_supported("container_without_gpu", option="--gpus", what="--gpus", line=line))
    several = any(word in made.arguments for word in ("-tp", "--tp", "--tensor-parallel-size", "--num-shard"))
    if several and not {"--ipc", "--shm-size"} & set(options):
        yield Finding(reason=warning("container_shared_memory", option="--ipc", what="--ipc", line=line))
