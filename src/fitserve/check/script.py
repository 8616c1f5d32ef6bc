"""Which kind of text was pasted, and its statements."""

import re
from collections.abc import Mapping

from fitserve.check.bash import read_bash
from fitserve.check.documents import (
    read_compose,
    read_config,
    read_dockerfile,
    read_kubernetes,
    read_modelfile,
    read_systemd,
    read_yaml,
)
from fitserve.check.types import Finding, Script
from fitserve.check.windows import read_cmd, read_powershell
from fitserve.foundation.reasons import not_supported

_FENCED = re.compile(r"^[ \t]*```+[ \t]*(\w*)[^\n]*\n(.*?)^[ \t]*```+[ \t]*$", re.DOTALL | re.MULTILINE)
_SHELLS = {"", "bash", "sh", "shell", "console", "zsh", "powershell", "ps1", "pwsh", "bat", "batch", "cmd", "dockerfile",
           "yaml", "yml", "modelfile", "text"}  # fmt: skip
_POWERSHELL = re.compile(
    r"`[ \t]*$|^\s*\$env:\w+\s*=|^\s*&\s+['\"]|^\s*(Invoke-|Start-Process)", re.MULTILINE | re.IGNORECASE
)
_CMD = re.compile(
    r"^\s*@?echo off\b|\^[ \t]*$|^\s*(rem\b|::)|^\s*set\s+\"?\w+=|%\w+%|\^[\"&|<>^]", re.MULTILINE | re.IGNORECASE
)
_SYSTEMD = re.compile(r"^\[Service\]\s*$", re.MULTILINE)
_PROMPT = re.compile(r"^(\$|>|PS [A-Z]:[^>\n]*>|[A-Z]:\\[^>\n]*>)[ \t]+(?=\S)", re.MULTILINE)
_BASH_CONTINUED = re.compile(r"\\[ \t]*(#[^\n]*)?$", re.MULTILINE)


def read_script(text: str, os_name: str | None = None) -> Script:
    """Statements of a command, a script, a configuration file, or the shell blocks of a Markdown text."""
    # line breaks before a block keep the line numbers those of the text
    blocks = [
        "\n" * text[: match.start(2)].count("\n") + match[2]
        for match in _FENCED.finditer(text)
        if match[1].lower() in _SHELLS
    ]
    if blocks:
        return _together([_read_plain(block, os_name) for block in blocks])
    return _read_plain(text, os_name)


def _together(scripts: list[Script]) -> Script:
    statements = tuple(statement for script in scripts for statement in script.statements)
    findings = tuple(finding for script in scripts for finding in script.findings)
    return Script(syntax=scripts[0].syntax, statements=statements, findings=findings)


def _read_plain(text: str, os_name: str | None) -> Script:
    document = _document(text)
    if document is not None:
        return document
    clean = _PROMPT.sub("", text)
    if _POWERSHELL.search(clean):
        return read_powershell(clean)
    if _CMD.search(clean) and not _BASH_CONTINUED.search(clean):
        return read_cmd(clean)
    script = read_bash(clean)
    continued = _BASH_CONTINUED.search(clean)
    if os_name == "windows" and continued is not None:
        line = clean[: continued.start()].count("\n") + 1
        wrong = Finding(reason=not_supported("continuation_not_of_windows", option="\\", what="\\", line=line))
        return Script(syntax="bash", statements=script.statements, findings=(*script.findings, wrong))
    return script


def _document(text: str) -> Script | None:
    """A configuration file; None for commands."""
    if _SYSTEMD.search(text) and "ExecStart" in text:
        return read_systemd(text)
    first = next((line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")), "")
    if re.match(r"FROM\s", first, re.IGNORECASE):
        is_dockerfile = re.search(r"^\s*(RUN|CMD|ENTRYPOINT|COPY|WORKDIR|EXPOSE|ENV)\b", text, re.MULTILINE)
        return read_dockerfile(text) if is_dockerfile else read_modelfile(text)
    if re.match(r"(apiVersion|kind):", first):
        return read_kubernetes(text)
    if not re.match(r"[A-Za-z_][\w-]*:(\s|$)", first):
        return None
    content, broken = read_yaml(text)
    if broken is not None:
        return Script(syntax="compose", statements=(), findings=(broken,))
    if not isinstance(content, Mapping):
        return None
    return read_compose(content, text) if "services" in content else read_config(content, text)
