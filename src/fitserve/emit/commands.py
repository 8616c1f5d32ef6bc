"""All texts of a launch command, and the script files of `--out`."""

from collections.abc import Mapping

from fitserve.emit.containers import compose, docker_argv
from fitserve.emit.shells import bash, cmd, powershell
from fitserve.engines.contract import LaunchCommand


def shell_texts(command: LaunchCommand, is_native: bool) -> dict[str, str | None]:
    """Text for each shell; cmd and PowerShell run the container where the engine is not native to Windows."""
    container = docker_argv(command)
    on_windows = command.argv if is_native or container is None else container
    env = command.env if on_windows is command.argv else {}
    return {
        "bash": bash(command.argv, command.env),
        "powershell": powershell(on_windows, env),
        "cmd": cmd(on_windows, env),
        "docker": None if container is None else bash(container, {}),
        "compose": compose(command),
    }


SCRIPTS: Mapping[str, str] = {
    ".sh": "bash",
    ".ps1": "powershell",
    ".bat": "cmd",
    ".cmd": "cmd",
    ".yaml": "compose",
    ".yml": "compose",
}


def script(ending: str, text: str) -> str:
    """The content of a script file with this ending."""
    if ending == ".sh":
        return f"#!/usr/bin/env bash\nset -euo pipefail\n{text}\n"
    if ending in {".bat", ".cmd"}:
        # code page 65001 is UTF-8; in a batch file a percent sign is doubled instead of escaped
        return "@echo off\r\nchcp 65001 >nul\r\n" + text.replace("^%", "%%").replace("\n", "\r\n") + "\r\n"
    return text if text.endswith("\n") else text + "\n"
