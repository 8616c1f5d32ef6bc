"""Texts of one language, looked up by code. Placeholders: `{name}`; `{name:은}` adds a Korean particle; `{name: text {}}`
is left out when the parameter is empty."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from fitserve.engines.registry import ENTRIES, engine
from fitserve.foundation.errors import InputError, Problem, WorldError
from fitserve.foundation.facts import load_toml
from fitserve.foundation.reasons import Reason
from fitserve.render.human import bytes_text, count_text
from fitserve.render.particles import with_particle

LANGUAGES = ("en", "ko")
_OPTIONAL = re.compile(r"\{([\w-]+):([^{}]*)\{\}([^{}]*)\}")
_PLAIN = re.compile(r"\{([\w-]+)(?::([^{}]+))?\}")


class Texts:
    """Every text of a language: the general ones and those of each engine's own folder."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._tables: dict[str, dict[str, str]] = {}
        self._unread = [
            "fitserve.check",
            "fitserve.web",
            "fitserve.api",
            "fitserve.launch",
            "fitserve.hardware",
            "fitserve.training",
            "fitserve.guides",
            "fitserve.launch.oracle",
            "fitserve.diagnose",
            "fitserve.bench",
            "fitserve.ask",
            "fitserve.predict.data",
            *(entry.package for entry in ENTRIES),
        ]
        self._read("fitserve.render")

    def _read(self, package: str) -> None:
        for table, entries in load_toml(package, f"messages/{self.language}.toml").items():
            self._tables.setdefault(table, {}).update(entries)

    def _read_engines(self) -> None:
        while self._unread:
            self._read(self._unread.pop(0))

    def raw(self, table: str, code: str) -> str:
        """The text with its placeholders. Raises KeyError for a code without text."""
        while code not in self._tables.get(table, {}) and self._unread:
            self._read(self._unread.pop(0))  # engines' own texts, until one has it
        return self._tables[table][code]

    def codes(self, table: str) -> frozenset[str]:
        """Codes that have a text."""
        self._read_engines()
        return frozenset(self._tables[table])

    def tables(self) -> frozenset[str]:
        """Names of all tables."""
        self._read_engines()
        return frozenset(self._tables)

    def text(self, table: str, code: str, parameters: Mapping[str, Any] | None = None) -> str:
        """The text of a code with its placeholders filled; facts that are named in English are put into the language."""
        given = parameters or {}
        if isinstance(given.get("fact"), str):
            given = {**given, "fact": self.fact(given["fact"])}
        return fill(self.raw(table, code), given)

    def fact(self, english: str) -> str:
        """A fact by its English name, as errors carry it; a name that no text knows stays as it is."""
        if self.language == LANGUAGES[0]:
            return english
        for code, pattern in _fact_patterns():
            found = pattern.fullmatch(english)
            if found:
                return fill(self.raw("fact", code), found.groupdict())
        return english

    def label(self, code: str, **parameters: Any) -> str:
        """A heading or cell."""
        return self.text("label", code, parameters)

    def reason(self, reason: Reason) -> str:
        """A reason in words."""
        return self.text("reason", reason.code, reason.parameters)

    def problem(self, problem: Problem) -> str:
        """One thing wrong with the input, in words."""
        return self.text("input", problem.code, dict(problem.parameters))

    def input_error(self, error: InputError) -> str:
        """All problems, one a line."""
        return "\n".join(self.problem(problem) for problem in error.problems)

    def world_error(self, error: WorldError) -> str:
        """What was tried and what came back."""
        if error.problem is not None:
            return self.text("world", error.problem.code, dict(error.problem.parameters))
        return self.text("world", "failed", {"action": error.action, "detail": error.detail})


@lru_cache(maxsize=len(LANGUAGES))
def texts(language: str) -> Texts:
    """The texts of a language."""
    return Texts(language)


@lru_cache(maxsize=1)
def _fact_patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    """How each fact is named in English, as a pattern with its parameters; the first that matches counts."""
    named = load_toml("fitserve.render", f"messages/{LANGUAGES[0]}.toml")["fact"]
    return tuple(
        (code, re.compile(_PLAIN.sub(r"(?P<\1>.+)", re.escape(text).replace(r"\{", "{").replace(r"\}", "}"))))
        for code, text in named.items()
    )


def fill(template: str, parameters: Mapping[str, Any]) -> str:
    """A template with its parameters. Raises KeyError for a placeholder that no parameter fills."""

    def optional(match: re.Match[str]) -> str:
        value = parameters[match[1]]
        return "" if value in (None, "", "-", ()) else f"{match[2]}{value_text(match[1], value)}{match[3]}"

    def plain(match: re.Match[str]) -> str:
        text = value_text(match[1], parameters[match[1]])
        return with_particle(text, match[2]) if match[2] else text

    return _PLAIN.sub(plain, _OPTIONAL.sub(optional, template))


@lru_cache(maxsize=len(ENTRIES))
def _title(name: str) -> str:
    if all(name != entry.id for entry in ENTRIES):
        return name  # a fork, or an engine of a newer answer
    title: str = engine(name).facts["identity"]["title"]
    return title


def value_text(name: str, value: Any) -> str:
    """A parameter in human units, decided by the ending of its name."""
    if isinstance(value, tuple | list):
        return ", ".join(str(item) for item in value)
    if name == "engine":
        return _title(str(value))
    if name.endswith("_bytes") or name == "bytes":
        return bytes_text(value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return count_text(value)
    return str(value)
