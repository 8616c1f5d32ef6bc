"""Argument lists to shell text. Every argument stays one inert word, whatever it holds.

Windows hands a program one line of text; programs cut it by the rules of CommandLineToArgvW
(https://learn.microsoft.com/windows/win32/api/shellapi/nf-shellapi-commandlinetoargvw), which `native_line` follows.
"""

import re
import shlex
from collections.abc import Callable, Mapping, Sequence

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_POWERSHELL_PLAIN = re.compile(r"[A-Za-z0-9_/\\.:][A-Za-z0-9_/\\.:=+\-]*|--?[A-Za-z][A-Za-z0-9_\-]*")
_POWERSHELL_QUOTES = re.compile("['\u2018\u2019\u201a\u201b]")
_CMD_SPECIAL = re.compile(r'([()%!^"<>&|])')
_CMD_PLAIN = re.compile(r"[A-Za-z0-9_./:\\+@{}\[\]'#~$-]+")
_CMD_PLAIN_VALUE = re.compile(r"[A-Za-z0-9_./:\\+@,;= -]*")
_SPLITS = re.compile(r"[ \t]")
"""What cuts arguments apart on Windows."""


def bash_word(word: str) -> str:
    """One word for bash. Control characters are spelled out: typed into a terminal they would act."""
    if not _CONTROL.search(word):
        return shlex.quote(word)
    escaped = re.sub(r"[\\']", r"\\\g<0>", word)
    return "$'" + _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", escaped) + "'"


def bash(argv: Sequence[str], env: Mapping[str, str]) -> str:
    """One command for bash, options on lines of their own."""
    assignments = [f"{name}={bash_word(value)}" for name, value in env.items()]
    return folded([*assignments, *map(bash_word, argv)], " \\\n  ")


def bash_line(argv: Sequence[str]) -> str:
    """One command for bash on a single line."""
    return " ".join(map(bash_word, argv))


def powershell(argv: Sequence[str], env: Mapping[str, str]) -> str:
    """A command for PowerShell 5.1 to 7.2, which pass an argument on without escaping the double quotes in it."""
    if all(_passes_unescaped(word) for word in argv):
        return _powershell(argv, env, _escaped_for_5)
    # such an argument reaches a program only by way of a whole command line
    return "\n".join([*powershell_env(env), start_process(argv) + " -NoNewWindow -Wait"])


def powershell7(argv: Sequence[str], env: Mapping[str, str]) -> str:
    """A command for PowerShell 7.3 and later, which pass arguments on as they are."""
    return _powershell(argv, env, str)


def powershell_env(env: Mapping[str, str]) -> list[str]:
    """Lines that set environment variables in PowerShell."""
    return [f"$env:{name} = {single(value)}" for name, value in env.items()]


def start_process(argv: Sequence[str]) -> str:
    """`Start-Process`, whose one argument list reaches the program unchanged in every PowerShell."""
    line = native_line(argv[1:])
    return f"Start-Process -FilePath {single(argv[0])}" + (f" -ArgumentList {single(line)}" if line else "")


def _powershell(argv: Sequence[str], env: Mapping[str, str], escaped: Callable[[str], str]) -> str:
    program = argv[0] if _POWERSHELL_PLAIN.fullmatch(argv[0]) else f"& {single(argv[0])}"
    words = [word if _POWERSHELL_PLAIN.fullmatch(word) else single(escaped(word)) for word in argv[1:]]
    return "\n".join([*powershell_env(env), folded([program, *words], " `\n  ")])


def _escaped_for_5(word: str) -> str:
    """An empty argument would be left out; a double quote needs the backslash that a program takes away."""
    return re.sub(r'(\\*)"', r'\1\1\\"', word) if word else '""'


def _passes_unescaped(word: str) -> bool:
    """Whether PowerShell before 7.3 sets its quotes where they are needed.

    It quotes an argument that has white space after an even number of quotes, and before 6 without doubling the
    backslashes at its end (NeedQuotes in NativeCommandParameterBinder.cs).
    """
    sees_space = any(letter.isspace() and word[:at].count('"') % 2 == 0 for at, letter in enumerate(word))
    if sees_space:
        return not word.endswith("\\")
    return not _SPLITS.search(word)


def single(text: str) -> str:
    """A literal of PowerShell, which takes four characters for a single quote."""
    return "'" + _POWERSHELL_QUOTES.sub(r"\g<0>\g<0>", text) + "'"


def cmd(argv: Sequence[str], env: Mapping[str, str]) -> str | None:
    """A command line to type into cmd.exe; None for an argument that it cannot carry (a line break ends the command)."""
    return _for_cmd(argv, env, "^%")


def batch(argv: Sequence[str], env: Mapping[str, str]) -> str | None:
    """A line of a batch file, where a percent sign is doubled; None for an argument that it cannot carry."""
    return _for_cmd(argv, env, "%%")


def _for_cmd(argv: Sequence[str], env: Mapping[str, str], percent: str) -> str | None:
    if any(_CONTROL.search(word) for word in (*argv, *env.values())):
        return None
    lines = [_cmd_assignment(name, value, percent) for name, value in env.items()]
    return "\n".join([*lines, " ".join(_cmd_word(word, percent) for word in argv)])


def _cmd_word(word: str, percent: str) -> str:
    """Every special character carries a caret, the quotes too: then cmd sees no quoted part, and nothing in it is live."""
    if _CMD_PLAIN.fullmatch(word):
        return word
    return _careted(_native_word(word), percent)


def _cmd_assignment(name: str, value: str, percent: str) -> str:
    """`set "NAME=value"` leaves quotes and line ends out of the value; a percent sign would be live between real quotes."""
    assignment = f'"{name}={value}"'
    return "set " + (assignment if _CMD_PLAIN_VALUE.fullmatch(value) else _careted(assignment, percent))


def _careted(text: str, percent: str) -> str:
    return _CMD_SPECIAL.sub(lambda found: percent if found[0] == "%" else f"^{found[0]}", text)


def native_line(argv: Sequence[str]) -> str:
    """Arguments as the one line that a Windows program gets."""
    return " ".join(word if _CMD_PLAIN.fullmatch(word) else _native_word(word) for word in argv)


def _native_word(word: str) -> str:
    escaped = re.sub(r'(\\*)"', r'\1\1\\"', word)
    return '"' + re.sub(r"(\\+)$", r"\1\1", escaped) + '"'


def folded(words: Sequence[str], joint: str) -> str:
    """Words with a line break before each option."""
    text = ""
    for index, word in enumerate(words):
        is_option = word.startswith("-") and not re.fullmatch(r"-?\d+(\.\d+)?", word)
        is_option = is_option and not (index == 1 and word == "-m")  # `python -m module` is one program
        text += (joint if is_option else " ") + word if index else word
    return text
