"""Text that starts a server in each shell: one command, or the server first and then the steps that need it running."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fitserve.emit.shells import (
    bash,
    batch,
    cmd,
    powershell,
    powershell7,
    powershell_env,
    start_process,
)

_WAIT_S = 600
"""A server that loads tens of GiB answers after minutes; the wait ends with the first answer."""
_OWN_WINDOW = "The server first, in a window of its own;"
_BACKGROUND = "The server first, in the background;"
_STEPS = "the steps follow when port {port} answers."


@dataclass(frozen=True, slots=True, kw_only=True)
class Sequenced:
    """A server and what follows it. `is_detached`: its command returns at once (`docker run --detach`)."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    then: tuple[tuple[str, ...], ...]
    port: int
    is_detached: bool = False


def wait_argv(port: int, program: str, nowhere: str) -> tuple[str, ...]:
    """curl as the wait: it is part of Windows since 10 1803, and a connection that is cut off counts as not yet there."""
    argv = (program, f"http://127.0.0.1:{port}/", "--silent", "--output", nowhere, "--retry", str(_WAIT_S))
    return (*argv, "--retry-delay", "1", "--retry-all-errors")


def _notes(run: Sequenced, mark: str, way: str) -> list[str]:
    """Where the server runs, as comments."""
    return [f"{mark} {way}", f"{mark} {_STEPS.format(port=run.port)}"]


def bash_text(run: Sequenced) -> str:
    """Lines for bash; with steps, the server runs in the background."""
    server = bash(run.argv, run.env)
    if not run.then:
        return server
    steps = [bash(step, {}) for step in (wait_argv(run.port, "curl", "/dev/null"), *run.then)]
    return "\n".join([*_notes(run, "#", _BACKGROUND), server if run.is_detached else server + " &", *steps])


def powershell_text(run: Sequenced, is_new: bool) -> str:
    """Lines for PowerShell; with steps, the server gets its own window."""
    text = powershell7 if is_new else powershell
    if not run.then:
        return text(run.argv, run.env)
    notes = _notes(run, "#", _BACKGROUND if run.is_detached else _OWN_WINDOW)
    start = (
        text(run.argv, run.env).splitlines() if run.is_detached else [*powershell_env(run.env), start_process(run.argv)]
    )
    steps = (wait_argv(run.port, "curl.exe", "NUL"), *run.then)
    return "\n".join([*notes, *start, *(text(step, {}) for step in steps)])


def cmd_text(run: Sequenced, is_batch: bool) -> str | None:
    """Lines for cmd.exe; with steps, the server gets its own window. None for an argument that cmd cannot carry."""
    text = batch if is_batch else cmd
    if not run.then:
        return text(run.argv, run.env)
    notes = _notes(run, "rem", _BACKGROUND if run.is_detached else _OWN_WINDOW)
    # the first quoted word of `start` is the title of the window
    server = text(run.argv, run.env) if run.is_detached else _start(text(run.argv, {}), text(("rem",), run.env))
    steps = [text(step, {}) for step in (wait_argv(run.port, "curl.exe", "NUL"), *run.then)]
    lines = [*notes, server, *steps]
    return None if any(line is None for line in lines) else "\n".join(line or "" for line in lines)


def _start(line: str | None, assignments: str | None) -> str | None:
    if line is None or assignments is None:
        return None
    return "\n".join([*assignments.split("\n")[:-1], f'start "server" {line}'])


def bash_script(run: Sequenced, has_files: bool) -> str:
    """A file for bash. It stops at the first error, and with steps it stays with its server."""
    lines = ["#!/usr/bin/env bash", "set -euo pipefail"]
    if has_files:
        lines.append('cd -- "$(dirname -- "${BASH_SOURCE[0]}")"')
    stays = bool(run.then) and not run.is_detached
    if stays:
        lines.append("trap 'kill $(jobs -p) 2>/dev/null || true' EXIT")
    lines += [bash_text(run), *(["wait"] if stays else [])]
    return "\n".join(lines) + "\n"


def powershell_script(run: Sequenced, has_files: bool) -> str:
    """A file for every PowerShell; it looks at its version where quoting differs."""
    lines = ["Set-Location -LiteralPath $PSScriptRoot"] if has_files else []
    old, new = powershell_text(run, is_new=False), powershell_text(run, is_new=True)
    if old == new:
        lines.append(new)
    else:
        test = "if ($PSVersionTable.PSVersion -ge [version]'7.3') {"
        lines += ["# PowerShell before 7.3 drops double quotes inside arguments", test, new, "} else {", old, "}"]
    return "\n".join(lines) + "\n"


def batch_script(run: Sequenced, has_files: bool) -> str | None:
    """A batch file in UTF-8 (code page 65001); None for an argument that cmd cannot carry."""
    text = cmd_text(run, is_batch=True)
    if text is None:
        return None
    lines = ["@echo off", "chcp 65001 >nul", *(['cd /d "%~dp0"'] if has_files else []), *text.split("\n")]
    return "\r\n".join(lines) + "\r\n"


def step_shells(argv: Sequence[str], runs_on_windows: bool = True) -> dict[str, str | None]:
    """Text of a single command in each shell; None where it does not run or cannot be carried."""
    texts: dict[str, str | None] = {"bash": bash(argv, {}), "powershell": None, "powershell7": None, "cmd": None}
    if runs_on_windows:
        texts |= {"powershell": powershell(argv, {}), "powershell7": powershell7(argv, {}), "cmd": cmd(argv, {})}
    return texts
