"""Argument lists to shell text. Every argument stays one inert word, whatever it holds."""

import re
import shlex
from collections.abc import Mapping, Sequence

import mslex

_POWERSHELL_PLAIN = re.compile(r"[A-Za-z0-9_./:=,+\-]+")
_POWERSHELL_SPECIAL_START = re.compile(r"[-@,]")


def bash(argv: Sequence[str], env: Mapping[str, str]) -> str:
    """One command for bash and other POSIX shells, options on lines of their own."""
    assignments = [f"{name}={shlex.quote(value)}" for name, value in env.items()]
    return _folded([*assignments, *(shlex.quote(word) for word in argv)], " \\\n  ")


def powershell(argv: Sequence[str], env: Mapping[str, str]) -> str:
    """A command for PowerShell 5.1 and later. Single quotes keep everything literal; `&` runs a quoted name."""
    lines = [f"$env:{name} = {_single(value)}" for name, value in env.items()]
    words = [_powershell_word(word, index == 0) for index, word in enumerate(argv)]
    return "\n".join([*lines, _folded(words, " `\n  ")])


def _powershell_word(word: str, is_command: bool) -> str:
    if (
        _POWERSHELL_PLAIN.fullmatch(word)
        and not (is_command and _POWERSHELL_SPECIAL_START.match(word))
        and "," not in word
    ):
        return word
    # Windows PowerShell and PowerShell before 7.3 drop inner double quotes on the way to a native program
    quoted = _single(word.replace('"', '\\"'))
    return f"& {quoted}" if is_command else quoted


def _single(text: str) -> str:
    return "'" + text.replace("'", "''").replace("\u2018", "\u2018\u2018").replace("\u2019", "\u2019\u2019") + "'"


def cmd(argv: Sequence[str], env: Mapping[str, str]) -> str:
    """A command line for cmd.exe."""
    lines = [f'set "{name}={value}"' for name, value in env.items()]
    return "\n".join([*lines, " ".join(mslex.quote(word, for_cmd=True) for word in argv)])


def _folded(words: Sequence[str], joint: str) -> str:
    """Words with a line break before each option."""
    text = ""
    for index, word in enumerate(words):
        is_option = word.startswith("-") and not re.fullmatch(r"-?\d+(\.\d+)?", word)
        text += (joint if is_option else " ") + word if index else word
    return text
