"""A launch command to `docker run` and Compose. Ports are published on the loopback address only; a Hugging Face token
passes by environment, never on the line."""

import json
import re
from ipaddress import IPv4Address
from pathlib import PurePath
from typing import Any

from fitserve.engines.contract import LaunchCommand

_MODELS = "/models"
_ALL_ADDRESSES = str(IPv4Address(0))  # inside the container; the port is published on the loopback address
_DEVICES = {
    "nvidia": ["--gpus", "all"],
    "amd": ["--device", "/dev/kfd", "--device", "/dev/dri", "--group-add", "video"],
    "intel": ["--device", "/dev/dri"],
}


def docker_argv(command: LaunchCommand) -> tuple[str, ...] | None:
    """Arguments of `docker run`; None when there is no image for the machine."""
    if command.image is None:
        return None
    program, arguments = _inside(command)
    argv = ["docker", "run", "--rm", "-it", *_DEVICES.get(command.device_vendor, [])]
    argv += ["--ipc", "host", "-p", f"127.0.0.1:{command.port}:{command.port}"]
    for volume in _volumes(command):
        argv += ["-v", volume]
    for name in _environment(command):
        argv += ["-e", name]
    return (*argv, "--entrypoint", program, command.image, *arguments)


def compose(command: LaunchCommand) -> str | None:
    """Text of a compose.yaml; None when there is no image for the machine."""
    if command.image is None:
        return None
    program, arguments = _inside(command)
    service: dict[str, Any] = {
        "image": command.image,
        "entrypoint": [program],
        "command": arguments,
        "ipc": "host",
        "ports": [f"127.0.0.1:{command.port}:{command.port}"],
        "volumes": list(_volumes(command)),
        "environment": list(_environment(command)),
        "restart": "unless-stopped",
    }
    if command.device_vendor == "nvidia":
        device = {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
        service["deploy"] = {"resources": {"reservations": {"devices": [device]}}}
    elif command.device_vendor in _DEVICES:
        service["devices"] = [word for word in _DEVICES[command.device_vendor] if word.startswith("/dev/")]
    lines = ["services:", "  llm:"]
    lines += [f"    {key}: {_yaml(value)}" for key, value in service.items() if value != []]
    named = [volume.split(":")[0] for volume in _volumes(command) if not volume.startswith((".", "/"))]
    lines += ["volumes:", *(f"  {name}: {{}}" for name in named)] if named else []
    return "\n".join(lines) + "\n"


def _yaml(value: object) -> str:
    """JSON is YAML; a dollar sign would be a Compose variable."""
    return json.dumps(value, ensure_ascii=False).replace("$", "$$")


def _inside(command: LaunchCommand) -> tuple[str, list[str]]:
    """Program and arguments inside the container: listening on all addresses there, the model file under /models."""
    words = list(command.argv[1:])
    for index, word in enumerate(words):
        if index and words[index - 1] in {"--host", "--hostname"}:
            words[index] = _ALL_ADDRESSES
        elif command.model_file is not None and word == command.model_file:
            words[index] = f"{_MODELS}/{_file_name(word)}"
    return command.entrypoint or command.argv[0], words


def _file_name(path: str) -> str:
    return PurePath(re.sub(r"[\\/]+$", "", path).replace("\\", "/")).name


def _volumes(command: LaunchCommand) -> list[str]:
    volumes = [] if command.cache_folder is None else [f"huggingface:{command.cache_folder}"]
    if command.model_file is not None:
        folder = command.model_file.replace("\\", "/").rpartition("/")[0]
        volumes.append(f"{folder or '.'}:{_MODELS}:ro" if folder.startswith("/") else f"./{folder}:{_MODELS}:ro")
    return volumes


def _environment(command: LaunchCommand) -> list[str]:
    token = ["HF_TOKEN"] if command.needs_token else []
    return [*token, *(f"{name}={value}" for name, value in command.env.items())]
