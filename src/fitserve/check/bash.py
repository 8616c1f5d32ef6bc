"""Bash text to statements: quotes, continuations, comments, here-documents; nothing is expanded or run.

Follows the POSIX shell grammar (IEEE 1003.1, 2.3 Token Recognition); expansions stay in the words as they are written.
"""

import re
from dataclasses import dataclass, field

from fitserve.check.types import Edit, Finding, Redirect, Script, Statement, Word
from fitserve.foundation.reasons import not_supported, warning

_BROKEN_CONTINUATION = re.compile(r"\\[ \t]+(#[^\n]*)?(\n|\Z)")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=", re.ASCII)
_OPERATORS = ("&&", "||", ";;", "|&", ";", "|", "&", "\n", "(", ")")
_REDIRECT = re.compile(r"(?:&>>?|\d?(?:>>|>\||>&|<&|<>|<<<|>|<))")
_HEREDOC = re.compile(r"<<-?[ \t]*(['\"]?)([\w.\-]+)\1")


@dataclass(slots=True)
class _Reader:
    """Walks the text once."""

    text: str
    at: int = 0
    line: int = 1
    words: list[Word] = field(default_factory=list)
    redirects: list[Redirect] = field(default_factory=list)
    statements: list[Statement] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    documents: list[str] = field(default_factory=list)
    document: str | None = None

    def read(self) -> None:
        while self.at < len(self.text):
            if not (self._blank() or self._heredoc() or self._redirect() or self._operator()):
                self.words.append(Word(self._word(), self.line))
        self._end()

    def _take(self, count: int) -> str:
        piece = self.text[self.at : self.at + count]
        self.line += piece.count("\n")
        self.at += count
        return piece

    def _blank(self) -> bool:
        """White space, comments and continuations; a continuation followed by a comment is none in bash."""
        rest = self.text[self.at : self.at + 2]
        if rest[:1] in {" ", "\t", "\r"}:
            self._take(1)
            return True
        if rest.startswith("\\\n"):
            self._take(2)
            return True
        if rest[:1] == "#":
            end = self.text.find("\n", self.at)
            self._take((len(self.text) if end < 0 else end) - self.at)
            return True
        return self._broken_continuation()

    def _broken_continuation(self) -> bool:
        broken = _BROKEN_CONTINUATION.match(self.text, self.at)
        if broken is None:
            return False
        code = "comment_after_continuation" if broken[1] else "space_after_continuation"
        self.findings.append(Finding(reason=not_supported(code, option="\\", what="\\", line=self.line)))
        self._take(len(broken[0]))
        return True

    def _heredoc(self) -> bool:
        found = _HEREDOC.match(self.text, self.at)
        if found is None:
            return False
        self._take(len(found[0]))
        body = re.compile(rf"\n(.*?)^\t*{re.escape(found[2])}[ \t]*$", re.DOTALL | re.MULTILINE)
        match = body.search(self.text, self.at)
        if match is None:
            self.findings.append(
                Finding(reason=not_supported("heredoc_unclosed", option="<<", what=found[2], line=self.line))
            )
            return True
        self.document = match[1]
        # the rest of the line still belongs to the command; the body is cut out
        self.text = self.text[: match.start()] + self.text[match.end() :]
        return True

    def _redirect(self) -> bool:
        found = _REDIRECT.match(self.text, self.at)
        if found is None:
            return False
        is_glued = self.at > 0 and not self.text[self.at - 1].isspace() and bool(self.words)
        sign, line = self._take(len(found[0])), self.line
        while self.text[self.at : self.at + 1] in {" ", "\t"}:
            self._take(1)
        target = self._word() if self.at < len(self.text) and self.text[self.at] not in "\n;|" else ""
        self.redirects.append(Redirect(sign, target, line, len(self.words) - 1 if is_glued else None))
        return True

    def _operator(self) -> bool:
        for operator in _OPERATORS:
            if self.text.startswith(operator, self.at):
                self._end()
                self._take(len(operator))
                return True
        return False

    def _word(self) -> str:
        """One word with its quotes removed."""
        made: list[str] = []
        start = self.at
        while self.at < len(self.text):
            letter = self.text[self.at]
            if letter.isspace() or letter in ";|&()<>":
                break
            if letter in "'\"":
                made.append(self._quoted(letter))
            elif letter == "\\":
                if _BROKEN_CONTINUATION.match(self.text, self.at) or self.text.startswith("\\\n", self.at):
                    break
                made.append(self._take(2)[1:])
            elif letter == "$" and self.text[self.at + 1 : self.at + 2] in {"(", "{"}:
                made.append(self._expansion())
            elif letter == "`":
                end = self.text.find("`", self.at + 1)
                made.append(self._take((len(self.text) if end < 0 else end + 1) - self.at))
            else:
                made.append(self._take(1))
        if self.at == start:  # a lone closing sign
            made.append(self._take(1))
        return "".join(made)

    def _quoted(self, quote: str) -> str:
        opened = self.line
        self._take(1)
        made: list[str] = []
        while self.at < len(self.text):
            letter = self._take(1)
            if letter == quote:
                return "".join(made)
            if letter == "\\" and quote == '"' and self.text[self.at : self.at + 1] in {'"', "\\", "$", "`", "\n"}:
                following = self._take(1)
                made.append("" if following == "\n" else following)
            else:
                made.append(letter)
        self.findings.append(Finding(reason=not_supported("quote_unclosed", option=quote, what=quote, line=opened)))
        return "".join(made)

    def _expansion(self) -> str:
        """`${…}` or `$(…)` as written, to its closing sign."""
        close = {"(": ")", "{": "}"}[self.text[self.at + 1]]
        opening = self.text[self.at + 1]
        depth, end = 0, self.at + 1
        while end < len(self.text):
            depth += (self.text[end] == opening) - (self.text[end] == close)
            end += 1
            if depth == 0:
                break
        return self._take(end - self.at)

    def _end(self) -> None:
        """Closes the statement; variables before the command become its environment."""
        words = list(self.words)
        env: dict[str, str] = {}
        if words and words[0].text == "export" and len(words) > 1:
            words = words[1:]
        while words and _ASSIGNMENT.match(words[0].text):
            name, _, value = words.pop(0).text.partition("=")
            env[name] = value
        if words or env or self.redirects:
            shift = len(self.words) - len(words)
            redirects = tuple(
                Redirect(r.sign, r.target, r.line, None if r.glued_to is None else r.glued_to - shift)
                for r in self.redirects
            )
            self.statements.append(Statement(words=tuple(words), env=env, redirects=redirects, document=self.document))
        self.words, self.redirects, self.document = [], [], None


def read_bash(text: str) -> Script:
    """Statements of a bash script; variables that were exported before reach the statements after them."""
    reader = _Reader(text.replace("\r\n", "\n"))
    reader.read()
    return Script(syntax="bash", statements=with_exports(reader.statements), findings=tuple(reader.findings))


def with_exports(statements: list[Statement]) -> tuple[Statement, ...]:
    """Statements that only set variables are folded into those that follow."""
    kept: list[Statement] = []
    exported: dict[str, str] = {}
    for statement in statements:
        if not statement.words:
            exported |= statement.env
            continue
        kept.append(
            Statement(
                words=statement.words,
                env={**exported, **statement.env},
                redirects=statement.redirects,
                document=statement.document,
            )
        )
    return tuple(kept)


def typographic(statement: Statement) -> list[Finding]:
    """Dashes and quotes that a word processor or web page put in: no program knows them."""
    found = []
    for index, word in enumerate(statement.words):
        plain = re.sub(r"^[\u2010-\u2015\u2212]{1,2}(?=[A-Za-z])", "--", word.text)
        plain = plain.replace("\u201c", '"').replace("\u201d", '"')
        if plain != word.text:
            found.append(
                Finding(
                    reason=warning("typographic_characters", option=word.text, what=word.text, line=word.line)
                    if not plain.startswith("--")
                    else not_supported("typographic_characters", option=word.text, what=word.text, line=word.line),
                    edits=(Edit(index, index + 1, (plain,)),),
                )
            )
    return found
