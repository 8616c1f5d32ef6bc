"""A launch command to `docker run`, Compose and a Dockerfile. Ports are published on the loopback address only; a
Hugging Face token passes by environment, never on the line."""

import csv
import io
import json
import re
from ipaddress import IPv4Address
from typing import Any

from fitserve.emit.scripts import Sequenced
from fitserve.emit.shells import bash_line
from fitserve.emit.yaml_text import yaml_text
from fitserve.engines.contract import LaunchCommand, LaunchFile
from fitserve.foundation.errors import InputError
from fitserve.foundation.paths import is_windows_path, split_path

MODELS = "/models"
_CONFIG = "/config"
CONTAINER = "llm"
_ALL_ADDRESSES = str(IPv4Address(0))  # inside the container; the port is published on the loopback address
_DEVICES = {
    "nvidia": ["--gpus", "all"],
    "amd": ["--device", "/dev/kfd", "--device", "/dev/dri", "--group-add", "video"],
    "intel": ["--device", "/dev/dri"],
}
_FILE_NAME = re.compile(r"[^\W_][\w.\-]*")
_DRIVE = re.compile(r"[A-Za-z]:[\\/]")


def docker_argv(command: LaunchCommand, is_windows: bool = False) -> tuple[str, ...] | None:
    """Arguments of `docker run`; None when there is no image for the machine."""
    if command.image is None:
        return None
    program, arguments = inside(command)
    way = ["--detach", "--name", CONTAINER] if command.then else ["--rm", "-it"]
    argv = ["docker", "run", *way, *_DEVICES.get(command.device_vendor, [])]
    argv += ["--ipc", "host", "-p", f"127.0.0.1:{command.port}:{command.port}"]
    for source, target, is_fixed in _mounts(command):
        argv += _mount(source, target, is_fixed, is_windows)
    for name in environment(command):
        argv += ["-e", name]
    return (*argv, "--entrypoint", program, command.image, *arguments)


def docker_run(command: LaunchCommand, is_windows: bool = False) -> Sequenced | None:
    """The container and the steps in it; None when there is no image for the machine."""
    argv = docker_argv(command, is_windows)
    if argv is None:
        return None
    steps = tuple(("docker", "exec", CONTAINER, *step) for step in steps_inside(command))
    return Sequenced(argv=argv, env={}, then=steps, port=command.port, is_detached=bool(command.then))


def compose(command: LaunchCommand) -> str | None:
    """Text of a compose.yaml; None when there is no image for the machine."""
    if command.image is None:
        return None
    program, arguments = inside(command)
    mounts = _mounts(command)
    volumes = [
        {"type": "bind", "source": source, "target": target, "read_only": True}
        if is_fixed else {"type": "volume", "source": source, "target": target}
        for source, target, is_fixed in mounts
    ]  # fmt: skip
    service: dict[str, Any] = {
        "image": command.image,
        "entrypoint": [program],
        "command": arguments,
        "ipc": "host",
        "ports": [f"127.0.0.1:{command.port}:{command.port}"],
        "volumes": volumes,
        "environment": list(environment(command)),
        "restart": "unless-stopped",
    }
    if command.device_vendor == "nvidia":
        device = {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
        service["deploy"] = {"resources": {"reservations": {"devices": [device]}}}
    elif command.device_vendor in _DEVICES:
        service["devices"] = [word for word in _DEVICES[command.device_vendor] if word.startswith("/dev/")]
    if command.device_vendor == "amd":
        service["group_add"] = ["video"]
    kept = {key: _undollared(value) for key, value in service.items() if value != []}
    named: dict[str, Any] = {source: {} for source, _, is_fixed in mounts if not is_fixed}
    document: dict[str, Any] = {"services": {CONTAINER: kept}} | ({"volumes": named} if named else {})
    return _then_comment(command, "docker compose exec llm ") + yaml_text(document)


def dockerfile(command: LaunchCommand) -> str | None:
    """Text of a Dockerfile: the pinned image with the files of the command; weights are mounted, not built in."""
    if command.image is None:
        return None
    program, arguments = inside(command)
    files = plain_files(command)
    lines = [_then_comment(command, "docker exec llm ").rstrip("\n")] if command.then else []
    lines += [f"FROM {command.image}"]
    copied = ([file.path, f"{files_folder(command)}/{file.path}"] for file in files)
    lines += [f"COPY {json.dumps(pair, ensure_ascii=False)}" for pair in copied]
    lines += [f"ENV {name}={_docker_value(value)}" for name, value in command.env.items()]
    lines += [f"EXPOSE {command.port}", f"ENTRYPOINT {json.dumps([program])}", f"CMD {json.dumps(arguments)}"]
    return "\n".join(lines) + "\n"


def _docker_value(value: str) -> str:
    """A quoted value of ENV. Raises InputError for a line break, which would begin a new instruction."""
    if re.search(r"[\r\n\0]", value):
        raise InputError.of("value_has_line_break", given=value)
    return '"' + re.sub(r'[\\"$]', r"\\\g<0>", value) + '"'


def plain_files(command: LaunchCommand) -> tuple[LaunchFile, ...]:
    """The files of a command. Raises InputError for a name that is not a plain one beside the script."""
    for file in command.files:
        if not _FILE_NAME.fullmatch(file.path):
            raise InputError.of("file_name_not_plain", given=file.path)
    return command.files


def inside(command: LaunchCommand) -> tuple[str, list[str]]:
    """Program and arguments inside the container: listening on all addresses there, files under /models."""
    words = _moved(command, command.argv[1:])
    for index, word in enumerate(words[:-1]):
        if word in {"--host", "--hostname"}:
            words[index + 1] = _ALL_ADDRESSES
    return command.entrypoint or command.argv[0], words


def steps_inside(command: LaunchCommand) -> tuple[tuple[str, ...], ...]:
    """The later steps as they run inside the container."""
    return tuple((step[0], *_moved(command, step[1:])) for step in command.then)


def _moved(command: LaunchCommand, words: tuple[str, ...]) -> list[str]:
    """Words with the paths of mounted files replaced."""
    moved = {file.path: f"{files_folder(command)}/{file.path}" for file in plain_files(command)}
    if command.model_file is not None:
        moved[command.model_file] = f"{MODELS}/{_file_name(command.model_file)}"
    return [moved.get(word, word) for word in words]


def files_folder(command: LaunchCommand) -> str:
    """Where files lie in the container: beside a model that is named relative to them, else apart from it."""
    folder = _folder(command)
    return MODELS if folder is None or folder.startswith(".") else _CONFIG


def _folder(command: LaunchCommand) -> str | None:
    """The host's folder of the model file; None without one."""
    if command.model_file is None:
        return None
    folder, _ = split_path(command.model_file)
    if is_windows_path(command.model_file):
        folder = folder.replace("\\", "/")
    if command.model_file.startswith("/") or _DRIVE.match(command.model_file):
        return folder or "/"
    return f"./{folder.removeprefix('.').removeprefix('/')}"


def _file_name(path: str) -> str:
    return split_path(path)[1]


def _mounts(command: LaunchCommand) -> list[tuple[str, str, bool]]:
    """Source, target, and whether it is a folder or file of the host (read-only) instead of a named volume."""
    mounts = [] if command.cache_folder is None else [(volume_name(command.cache_folder), command.cache_folder, False)]
    folder = _folder(command)
    if folder is not None:
        mounts.append((folder, MODELS, True))
        if not folder.startswith(".") and any(str(command.model_file) in file.text for file in command.files):
            mounts.append((folder, folder, True))  # the file names it by its full path
    if folder != "./":  # a model file beside the script brings its whole folder
        mounts += [(f"./{file.path}", f"{files_folder(command)}/{file.path}", True) for file in plain_files(command)]
    return mounts


def volume_name(folder: str) -> str:
    """Name of the volume for a folder of downloads: engines that share a kind of cache share the volume."""
    return re.sub(r"[^a-z0-9]", "", split_path(folder)[1].lower()) or "cache"


def _mount(source: str, target: str, is_fixed: bool, is_windows: bool) -> list[str]:
    if not is_fixed:
        return ["-v", f"{source}:{target}"]
    if is_windows and source.startswith("."):
        source = source.replace(
            "/", "\\"
        )  # the client makes a relative path absolute only in the system's own spelling
    if ":" not in _DRIVE.sub("", source):
        return ["-v", f"{source}:{target}:ro"]
    row = io.StringIO()
    csv.writer(row, lineterminator="").writerow(["type=bind", f"source={source}", f"target={target}", "readonly"])
    return ["--mount", row.getvalue()]


def environment(command: LaunchCommand) -> list[str]:
    """Variables of the container; the token by its name only, so that its value comes from the caller's environment."""
    token = ["HF_TOKEN"] if command.needs_token else []
    return [*token, *(f"{name}={value}" for name, value in command.env.items())]


def _undollared(value: Any) -> Any:
    """A dollar sign would be a variable of Compose."""
    if isinstance(value, str):
        return value.replace("$", "$$")
    if isinstance(value, list):
        return [_undollared(item) for item in value]
    return {key: _undollared(item) for key, item in value.items()} if isinstance(value, dict) else value


def _then_comment(command: LaunchCommand, prefix: str) -> str:
    """What is left to do once the server runs, as comments."""
    return "".join(f"# then: {prefix}{bash_line(step)}\n" for step in steps_inside(command))
