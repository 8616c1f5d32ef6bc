"""Configuration files to statements: Compose, Kubernetes, systemd units, Dockerfiles, Modelfiles, engine configurations."""

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from fitserve.check.types import Finding, Script, Statement, Word
from fitserve.foundation.reasons import not_supported

_MOST_LETTERS = 200_000


def read_yaml(text: str) -> tuple[Any, Finding | None]:
    """The content of a YAML text, or what is wrong with it."""
    try:
        return yaml.safe_load(text[:_MOST_LETTERS]), None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark is not None else 1
        detail = str(getattr(error, "problem", error))[:120]
        return None, Finding(reason=not_supported("yaml_broken", option="YAML", what="YAML", line=line, detail=detail))


def read_compose(content: Mapping[str, Any], text: str) -> Script:
    """Each service as the `docker run` that it stands for."""
    statements = []
    services = content.get("services")
    for name, service in (services if isinstance(services, Mapping) else {}).items():
        if isinstance(service, Mapping) and service.get("image"):
            line = _line_of(text, f"{name}:")
            statements.append(Statement(words=tuple(Word(word, line) for word in _service(service))))
    return Script(syntax="compose", statements=tuple(statements))


def _service(service: Mapping[str, Any]) -> Iterator[str]:
    yield from ("docker", "run")
    if "deploy" in service or "gpus" in service or service.get("runtime") == "nvidia":
        yield from ("--gpus", "all")
    for key, option in (("ipc", "--ipc"), ("shm_size", "--shm-size")):
        if service.get(key):
            yield from (option, str(service[key]))
    for key, option in (("ports", "-p"), ("volumes", "-v"), ("devices", "--device")):
        for item in _list(service.get(key)):
            yield from (option, str(item))
    environment = service.get("environment")
    pairs = (
        [f"{name}={value}" if value is not None else str(name) for name, value in environment.items()]
        if isinstance(environment, Mapping)
        else [str(item) for item in _list(environment)]
    )
    for pair in pairs:
        yield from ("-e", pair.replace("$$", "$"))
    entrypoint = words_of(service.get("entrypoint"))
    if entrypoint:
        yield from ("--entrypoint", entrypoint[0])
    yield str(service["image"])
    yield from (word.replace("$$", "$") for word in [*entrypoint[1:], *words_of(service.get("command"))])


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else []


def words_of(value: Any) -> list[str]:
    """A command as a list, or as text in shell form."""
    if isinstance(value, list):
        return [str(item) for item in value]
    try:
        return shlex.split(str(value)) if value else []
    except ValueError:
        return str(value).split()


def _line_of(text: str, start: str) -> int:
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip().startswith(start):
            return number
    return 1


def read_kubernetes(text: str) -> Script:
    """Containers of the Pods in a manifest."""
    statements: list[Statement] = []
    try:
        documents = [item for item in yaml.safe_load_all(text[:_MOST_LETTERS]) if isinstance(item, Mapping)]
    except yaml.YAMLError:
        documents = []
    for container in (found for document in documents for found in _containers(document)):
        words = ["docker", "run"]
        limits = (container.get("resources") or {}).get("limits") or {}
        if any("gpu" in str(name) for name in limits):
            words += ["--gpus", "all", "--ipc", "host"]
        for item in _list(container.get("env")):
            if isinstance(item, Mapping):
                value = item.get("value")
                words += ["-e", str(item.get("name")) if value is None else f"{item.get('name')}={value}"]
        command = words_of(container.get("command"))
        words += ["--entrypoint", command[0]] if command else []
        words += [str(container["image"]), *command[1:], *words_of(container.get("args"))]
        line = _line_of(text, "image:")
        statements.append(Statement(words=tuple(Word(word, line) for word in words)))
    return Script(syntax="kubernetes", statements=tuple(statements))


def _containers(node: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(node, Mapping):
        for item in _list(node.get("containers")):
            if isinstance(item, Mapping) and item.get("image"):
                yield item
        for value in node.values():
            yield from _containers(value)


_EXEC = re.compile(r"^(ExecStart|Environment)\s*=\s*(.*)$")


def read_systemd(text: str) -> Script:
    """The command of a unit."""
    joined = re.sub(r"\\\n", " ", text)
    statements: list[Statement] = []
    env: dict[str, str] = {}
    for number, line in enumerate(joined.splitlines(), start=1):
        found = _EXEC.match(line.strip())
        if found is None:
            continue
        words = [word.replace("%%", "%").replace("$$", "$") for word in words_of(found[2])]
        if found[1] == "Environment":
            env |= dict(word.split("=", 1) for word in words if "=" in word)
        elif words:
            statements.append(Statement(words=tuple(Word(word, number) for word in words), env=dict(env)))
    return Script(syntax="systemd", statements=tuple(statements))


def read_dockerfile(text: str) -> Script:
    """ENTRYPOINT and CMD together, as the `docker run` of the image that FROM names."""
    joined = re.sub(r"\\\n", " ", text)
    image, line = "", 1
    env: dict[str, str] = {}
    parts: dict[str, list[str]] = {"ENTRYPOINT": [], "CMD": []}
    for number, raw in enumerate(joined.splitlines(), start=1):
        keyword, _, rest = raw.strip().partition(" ")
        if keyword.upper() == "FROM":
            image = rest.split()[0] if rest.split() else ""
        elif keyword.upper() == "ENV" and "=" in rest:
            env |= dict(word.split("=", 1) for word in words_of(rest) if "=" in word)
        elif keyword.upper() in parts:
            parts[keyword.upper()], line = _exec_form(rest), number
    entry = parts["ENTRYPOINT"]
    words = ["docker", "run", "--gpus", "all", "--ipc", "host"]
    words += [word for name, value in env.items() for word in ("-e", f"{name}={value}")]
    words += ["--entrypoint", entry[0]] if entry else []
    words += [image, *entry[1:], *parts["CMD"]]
    return Script(syntax="dockerfile", statements=(Statement(words=tuple(Word(word, line) for word in words)),))


def _exec_form(text: str) -> list[str]:
    try:
        value = json.loads(text)
    except ValueError:
        return words_of(text)
    return [str(item) for item in value] if isinstance(value, list) else words_of(text)


def read_modelfile(text: str) -> Script:
    """`ollama create` with a key for each instruction: `FROM x`, `PARAMETER num_ctx 8192`."""
    statements: list[Statement] = []
    inside = False
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.strip()
        quotes = line.count('"""')
        if inside or not line or line.startswith("#"):
            inside ^= quotes % 2 == 1
            continue
        keyword, _, rest = line.partition(" ")
        words = [keyword.upper(), *(rest.split(None, 1) if keyword.upper() == "PARAMETER" else [rest.strip()])]
        statements.append(Statement(words=tuple(Word(word, number) for word in words)))
        inside = quotes % 2 == 1
    return Script(syntax="modelfile", statements=tuple(statements))


def read_config(content: Mapping[str, Any], text: str) -> Script:
    """A configuration by sections: one statement a key, `section.key value`."""
    statements = []
    for section, values in content.items():
        entries = values.items() if isinstance(values, Mapping) else [(None, values)]
        for key, value in entries:
            name = str(section) if key is None else f"{section}.{key}"
            words = (name, json.dumps(value, ensure_ascii=False, default=str))
            line = _line_of(text, f"{section if key is None else key}:")
            statements.append(Statement(words=tuple(Word(word, line) for word in words)))
    return Script(syntax="config", statements=tuple(statements))
