"""A launch command to a systemd unit and to a file of environment variables (systemd.service(5), systemd.exec(5))."""

import re
from collections.abc import Sequence

from fitserve.emit.scripts import wait_argv
from fitserve.emit.shells import folded
from fitserve.engines.contract import LaunchCommand
from fitserve.foundation.errors import InputError

_PLAIN = re.compile(r"[A-Za-z0-9_./:=,+@\-]+")
_PLAIN_VALUE = re.compile(r"[A-Za-z0-9_./:=,+@%\-]*")


def systemd_unit(command: LaunchCommand, folder: str, env_file: str) -> str:
    """Text of a .service file that runs the native command in `folder`; a token comes from `env_file`.

    Raises InputError for a folder with a line break.
    """
    if re.search(r"[\r\n\0]", folder + env_file):
        raise InputError.of("value_has_line_break", given=folder)
    lines = [
        "# As a user: systemctl --user enable --now ./NAME.service",
        f"# systemd looks for programs in the system's own folders only: if {command.argv[0]} lies elsewhere"
        " (a virtual environment), write its full path.",
        "[Unit]",
        f"Description=LLM server on port {command.port}",
        "",
        "[Service]",
        f"WorkingDirectory={folder.replace('%', '%%')}",
    ]
    if command.needs_token:
        lines.append(f"EnvironmentFile=-{env_file.replace('%', '%%')}")
    lines += [f"Environment={_word(f'{name}={value}', is_command=False)}" for name, value in command.env.items()]
    lines.append(f"ExecStart={_line(command.argv)}")
    if command.then:
        steps = (wait_argv(command.port, "curl", "/dev/null"), *command.then)
        lines += [f"ExecStartPost={_line(step)}" for step in steps]
        lines.append("TimeoutStartSec=infinity")
    lines += ["Restart=on-failure", "RestartSec=5", "", "[Install]", "WantedBy=default.target"]
    return "\n".join(lines) + "\n"


def _line(argv: Sequence[str]) -> str:
    return folded([_word(word) for word in argv], " \\\n  ")


def _word(word: str, is_command: bool = True) -> str:
    """A word in double quotes with C escapes; `%` begins a specifier, `$` a variable (in a command line only)."""
    if _PLAIN.fullmatch(word):
        return word
    text = re.sub(r'[\\"]', r"\\\g<0>", word).replace("%", "%%")
    if is_command:
        text = text.replace("$", "$$")
    return '"' + re.sub(r"[\x00-\x1f\x7f]", lambda found: f"\\x{ord(found[0]):02x}", text) + '"'


def env_file(command: LaunchCommand) -> str:
    """`NAME=value` lines that Docker, Compose and systemd read alike. Raises InputError for a value that they would not."""
    lines = ["# docker run --env-file, Compose env_file, systemd EnvironmentFile"]
    for name, value in command.env.items():
        if not _PLAIN_VALUE.fullmatch(value):
            raise InputError.of("env_value_not_plain", name=name)
        lines.append(f"{name}={value}")
    if command.needs_token:
        lines.append("HF_TOKEN=")
    return "\n".join(lines) + "\n"
