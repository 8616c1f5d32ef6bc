"""What the readers of scripts hand on: statements of words, each word with its line."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fitserve.engines.contract import no_options
from fitserve.foundation.reasons import Reason


@dataclass(frozen=True, slots=True)
class Word:
    """One word as the program would get it, and the line that it stands on."""

    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Redirect:
    """`>`, `>>`, `<` with its target; `is_glued` when a word stands directly before the sign (`vllm>=0.8.3`)."""

    sign: str
    target: str
    line: int
    glued_to: int | None = None
    """Index of the word that it is glued to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One command of a script with the variables set before it; `document` is the text of a here-document."""

    words: tuple[Word, ...]
    env: Mapping[str, str] = field(default_factory=no_options)
    redirects: tuple[Redirect, ...] = ()
    document: str | None = None

    @property
    def line(self) -> int:
        """Line of the first word."""
        return self.words[0].line if self.words else 0

    @property
    def argv(self) -> tuple[str, ...]:
        """The words without their lines."""
        return tuple(word.text for word in self.words)


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """A pasted text after reading: its shell, its statements, and what is wrong with the shell syntax itself."""

    syntax: str
    """bash, powershell, cmd, compose, modelfile, dockerfile, systemd or config."""
    statements: tuple[Statement, ...]
    findings: tuple["Finding", ...] = ()


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace the words `start` to `stop` (exclusive) of a statement by others."""

    start: int
    stop: int
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something wrong or worth knowing; `edits` mend it, `first_version` is the release at which it is right."""

    reason: Reason
    edits: tuple[Edit, ...] = ()
    first_version: str | None = None
