"""What `--out FILE` writes for a launch command: the form follows the name of the file."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePath

from fitserve.emit.commands import native_run, windows_run
from fitserve.emit.containers import compose, dockerfile, plain_files
from fitserve.emit.kubernetes import kubernetes
from fitserve.emit.scripts import bash_script, batch_script, powershell_script
from fitserve.emit.systemd import env_file, systemd_unit
from fitserve.engines.contract import LaunchCommand, LaunchFile
from fitserve.foundation.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """A launch command with what its files need to know of the plan. `folder` is where they will lie."""

    command: LaunchCommand
    is_native: bool
    device_count: int
    weights_bytes: int
    health_path: str | None = None
    folder: str = "."


_ENDINGS: Mapping[str, str] = {
    ".sh": "bash",
    ".ps1": "powershell",
    ".bat": "cmd",
    ".cmd": "cmd",
    ".yaml": "compose",
    ".yml": "compose",
    ".service": "systemd",
    ".env": "env",
    ".dockerfile": "dockerfile",
}
_NAMES: Mapping[str, str] = {"dockerfile": "dockerfile", "modelfile": "file", "config.yml": "file", ".env": "env"}
_KUBERNETES = ("k8s", "kubernetes", "deployment")
KNOWN = (*_ENDINGS, "k8s.yaml", "deployment.yaml", "Dockerfile", "Modelfile", "config.yml")


def form_of(path: str) -> str | None:
    """The form of a file by its name; None for one that is no form of a command."""
    name = PurePath(path.replace("\\", "/")).name.lower()
    if name in _NAMES:
        return _NAMES[name]
    form = _ENDINGS.get(PurePath(name).suffix)
    if form == "compose" and any(word in name for word in _KUBERNETES):
        return "kubernetes"
    return form


def launch_files(path: str, launch: Launch) -> tuple[LaunchFile, ...]:
    """The file of that name first, then those that it needs beside it.

    Raises InputError where the command has no such form, or an argument that the form cannot carry.
    """
    name = PurePath(path).name
    form = form_of(path) or ""
    if form == "file":
        return (_own_file(name, launch.command),)
    text = _TEXTS[form](launch, name)
    if text is None and form == "cmd":
        raise InputError.of("cmd_cannot_carry", kind=name)
    if text is None:
        raise InputError.of("out_without_image", kind=name)
    needed = () if form in {"kubernetes", "env"} else plain_files(launch.command)
    if name in {file.path for file in needed}:
        raise InputError.of("out_name_taken", given=name)
    return (LaunchFile(path=name, text=text), *needed)


def _own_file(name: str, command: LaunchCommand) -> LaunchFile:
    for file in plain_files(command):
        if file.path.lower() == name.lower():
            return LaunchFile(path=name, text=file.text)
    raise InputError.of("out_without_file", kind=name)


_TEXTS: Mapping[str, Callable[[Launch, str], str | None]] = {
    "bash": lambda launch, _: bash_script(native_run(launch.command), bool(launch.command.files)),
    "powershell": lambda launch, _: powershell_script(
        windows_run(launch.command, launch.is_native), bool(launch.command.files)
    ),
    "cmd": lambda launch, _: batch_script(windows_run(launch.command, launch.is_native), bool(launch.command.files)),
    "compose": lambda launch, _: compose(launch.command),
    "dockerfile": lambda launch, _: dockerfile(launch.command),
    "kubernetes": lambda launch, _: kubernetes(
        launch.command, launch.device_count, launch.weights_bytes, launch.health_path
    ),
    "systemd": lambda launch, name: systemd_unit(
        launch.command, launch.folder, f"{launch.folder}/{PurePath(name).stem}.env"
    ),
    "env": lambda launch, _: env_file(launch.command),
}
