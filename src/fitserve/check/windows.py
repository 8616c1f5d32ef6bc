"""PowerShell and cmd text to statements; nothing is expanded or run.

PowerShell: about_Parsing and about_Quoting_Rules. cmd: carets, double quotes and the argument rules of the Microsoft C
runtime, which mslex knows.
"""

import re

import mslex

from fitserve.check.bash import with_exports
from fitserve.check.types import Finding, Script, Statement, Word
from fitserve.foundation.reasons import not_supported

_ENV = re.compile(r"\$env:(\w+)\s*=\s*(.*)", re.IGNORECASE | re.DOTALL)
_PS_TOKEN = re.compile(
    r"(?P<comment>(?<!\S)#[^\n]*)|(?P<end>[;|\n]|&&|\|\|)|(?P<single>'(?:[^']|'')*')"
    r"|(?P<double>\"(?:`.|\"\"|[^\"`])*\")|(?P<escape>`.)|(?P<space>[ \t\r]+)|(?P<plain>[^\s;|'\"`]+)",
    re.DOTALL,
)
_CONTINUED = re.compile(r"`[ \t]*\r?\n")
_CARET = re.compile(r"\^[ \t]*\r?\n[ \t]*")
_SET = re.compile(r'set\s+"?([A-Za-z_]\w*)=([^"]*)"?\s*$', re.IGNORECASE)
_STARTED = re.compile(r'start\s+"[^"]*"(\s+/\w+)*\s+', re.IGNORECASE)  # `start "title" /b program`
_CMD_COMMENT = re.compile(r"(@?rem\b|::)", re.IGNORECASE)


def read_powershell(text: str) -> Script:
    """Statements of a PowerShell script."""
    statements: list[Statement] = []
    findings: list[Finding] = []
    line = 1
    words: list[Word] = []
    current: list[str] | None = None
    joined = _CONTINUED.sub(lambda match: " \x00 ", text)  # a mark for each line joined, so that lines stay counted

    def close_word() -> None:
        nonlocal current
        if current is not None:
            words.append(Word("".join(current), line))
            current = None

    def close_statement() -> None:
        close_word()
        _append_powershell(statements, words)
        words.clear()

    position = 0
    while position < len(joined):
        match = _PS_TOKEN.match(joined, position)
        if match is None:  # an opening quote without its end
            findings.append(
                Finding(
                    reason=not_supported("quote_unclosed", option=joined[position], what=joined[position], line=line)
                )
            )
            position += 1
            continue
        kind, piece = match.lastgroup, match[0]
        position = match.end()
        if kind == "space":
            close_word()
        elif kind == "end":
            close_statement()
        elif piece == "\x00":
            line += 1
        elif kind != "comment":
            current = [*(current or []), _ps_text(kind, piece)]
        line += piece.count("\n")
    close_statement()
    return Script(syntax="powershell", statements=with_exports(statements), findings=tuple(findings))


def _ps_text(kind: str | None, piece: str) -> str:
    if kind == "single":
        text = piece[1:-1].replace("''", "'")
        # typographic quotes end a single-quoted text as well, so they are doubled inside
        return re.sub("([\u2018\u2019\u201a\u201b])\\1", r"\1", text)
    if kind == "double":
        return re.sub(r"`(.)", r"\1", piece[1:-1].replace('""', '"'), flags=re.DOTALL)
    return piece[1:] if kind == "escape" else piece


def _append_powershell(statements: list[Statement], words: list[Word]) -> None:
    """A statement, or a variable that reaches those after it; the call operator is dropped."""
    kept = [word for word in words if word.text]
    if not kept:
        return
    setting = _ENV.fullmatch(" ".join(word.text for word in kept))
    if setting is not None:
        statements.append(Statement(words=(), env={setting[1]: setting[2]}))
        return
    if kept[0].text in {"&", "."}:
        kept = kept[1:]
    # Windows PowerShell drops inner double quotes, so people write \" for them: the program sees "
    statements.append(Statement(words=tuple(Word(w.text.replace('\\"', '"'), w.line) for w in kept)))


def read_cmd(text: str) -> Script:
    """Statements of a batch file or of lines for cmd.exe."""
    statements: list[Statement] = []
    lines = _CARET.sub(lambda match: " \x00", text)
    number = 1
    for raw in lines.splitlines():
        start = number
        number += 1 + raw.count("\x00")
        line = raw.replace("\x00", "").strip().removeprefix("@").strip()
        if not line or _CMD_COMMENT.match(line) or line.lower() in {"echo off", "setlocal", "pause"}:
            continue
        setting = _SET.match(line)
        if setting is not None:
            statements.append(Statement(words=(), env={setting[1]: setting[2]}))
            continue
        for part in re.split(r"(?<!\^)&&?|\|\|?", line) if '"' not in line else [line]:
            statements.append(_cmd_statement(part.replace("%%", "%"), start))
    kept = [statement for statement in statements if statement.words or statement.env]
    return Script(syntax="cmd", statements=with_exports(kept))


def _cmd_statement(text: str, line: int) -> Statement:
    words = mslex.split(_STARTED.sub("", text.strip()), like_cmd=True, check=False)
    while words and words[0].lower() in {"call", "start"}:
        words = words[1:]
    return Statement(words=tuple(Word(word, line) for word in words))
