"""Words of a command to options, by the option list of the release: spelling, values, what follows what.

`argparse` style (Python servers): unambiguous prefixes, `--name=value`, underscores where the engine takes them, dotted
JSON keys. `exact` style (llama.cpp): names as they are, the next word is the value whatever it is.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fitserve.check.releases import ReleaseOptions

_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_INTEGER = re.compile(r"-?\d+")
_SUFFIXED = re.compile(r"-?\d+(\.\d+)?[kKmMgGtT]?i?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """One option as it was written: words `start` to `stop` (exclusive) of the arguments. `row` is None when unknown."""

    written: str
    name: str
    row: Mapping[str, Any] | None
    values: tuple[str, ...]
    start: int
    stop: int
    key: str | None = None
    """The JSON key of a dotted name."""
    is_negated: bool = False
    lacks_value: bool = False

    @property
    def text(self) -> str:
        """`--name value`, as people would point at it."""
        return " ".join((self.written, *self.values))

    @property
    def value(self) -> str | None:
        """The only value, if there is one."""
        return self.values[0] if self.values else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedOptions:
    """Options and positional words (with their index) of one command."""

    options: tuple[Given, ...]
    positionals: tuple[tuple[int, str], ...]

    def last(self, names: Sequence[str]) -> Given | None:
        """The last option among names, which is the one that counts."""
        found = [given for given in self.options if given.row is not None and given.row["name"] in names]
        return found[-1] if found else None


def parse(arguments: Sequence[str], release: ReleaseOptions) -> ParsedOptions:
    """The options that a command gives, known or not."""
    options: list[Given] = []
    positionals: list[tuple[int, str]] = []
    index = 0
    while index < len(arguments):
        word = arguments[index]
        if not word.startswith("-") or word == "-" or _NUMBER.fullmatch(word):
            positionals.append((index, word))
            index += 1
            continue
        given = _option(arguments, index, release)
        options.append(given)
        index = given.stop
    return ParsedOptions(options=tuple(options), positionals=tuple(positionals))


def _option(arguments: Sequence[str], index: int, release: ReleaseOptions) -> Given:
    word = arguments[index]
    is_argparse = release.style == "argparse"
    written, equals, attached = word.partition("=") if is_argparse else (word, "", "")
    name, key = written, None
    if is_argparse and release.dotted and "." in written:
        name, _, key = written.partition(".")
    row, name = release.find(name)
    is_negated = row is not None and name in (*row.get("negations", ()), *row.get("also_accepted", ()))
    if row is None:
        return _unknown(arguments, index, written, name, equals, attached, many=not release.has_positionals)
    values, stop, lacks = _values(arguments, index + 1, row, release, is_negated, key)
    behind = written[len(name) :] if not written.startswith("--") and written != name and key is None else ""
    if equals or behind:
        values, stop, lacks = (attached or behind,), index + 1, False
    return Given(
        written=written, name=name, row=row, values=values, start=index, stop=stop, key=key, is_negated=is_negated,
        lacks_value=lacks,
    )  # fmt: skip


def _unknown(
    arguments: Sequence[str], index: int, written: str, name: str, equals: str, attached: str, many: bool
) -> Given:
    """An unknown option has the next word as its value when that looks like one; all, where no other words are taken."""
    stop = index + 1
    while stop < len(arguments) and not equals and (many or stop == index + 1):
        if arguments[stop].startswith("-") and not _NUMBER.fullmatch(arguments[stop]):
            break
        stop += 1
    values = (attached,) if equals else tuple(arguments[index + 1 : stop])
    return Given(written=written, name=name, row=None, values=values, start=index, stop=stop)


def _values(
    arguments: Sequence[str],
    start: int,
    row: Mapping[str, Any],
    release: ReleaseOptions,
    is_negated: bool,
    key: str | None,
) -> tuple[tuple[str, ...], int, bool]:
    """(values, index after them, whether a value that must be there is not)."""
    arity = "1" if key else str(row.get("arity", "1"))
    if is_negated or arity == "0":
        return (), start, False
    if release.style == "exact":
        count = int(arity) if arity.isdigit() else 1
        choices = [str(choice) for choice in row.get("choices") or ()]
        following = arguments[start : start + 1]
        if choices and following and following[0].startswith("-") and following[0] not in choices:
            return (), start, True  # the parser would take the next option as the value; it is read as it was meant
        taken = tuple(arguments[start : start + count])
        return taken, start + len(taken), len(taken) < count
    most = 1 if arity in {"1", "0 or 1", "?"} else int(arity) if arity.isdigit() else len(arguments)
    stop = start
    while stop < len(arguments) and stop - start < most and _is_value(arguments[stop], release):
        stop += 1
    needed = 0 if arity in {"0 or 1", "?", "*", "0 or more"} else 1
    return tuple(arguments[start:stop]), stop, stop - start < needed


def _is_value(word: str, release: ReleaseOptions) -> bool:
    if not word.startswith("-") or word == "-" or _NUMBER.fullmatch(word):
        return True
    return " " in word and release.find(word)[0] is None  # argparse takes a word with a space as a value


def wrong_value(given: Given, release: ReleaseOptions) -> tuple[str, tuple[str, ...]] | None:
    """(code, what would be right) of the value of a known option; None when it is right or cannot be judged."""
    row = given.row
    if row is None or given.key is not None or not given.values:
        return None
    choices = tuple(str(choice) for choice in row.get("choices") or ())
    if choices:
        bad = [value for value in given.values if value not in choices]
        return ("option_choice_wrong", choices) if bad else None
    kind = str(row.get("value_type", ""))
    for value in given.values:
        if value.startswith(("$", "%", "{{")) or "${" in value:
            continue  # a variable: its value is not known here
        if not _has_type(value, kind):
            return "option_type_wrong", (kind,)
    return None


def _has_type(value: str, kind: str) -> bool:
    if kind == "integer":
        return bool(_INTEGER.fullmatch(value))
    if kind.startswith("integer"):
        others = {"auto", "all"} if "auto" in kind or "all" in kind else set()
        return value in others or bool(_SUFFIXED.fullmatch(value) if "suffix" in kind else _INTEGER.fullmatch(value))
    if kind == "number":
        try:
            float(value)
        except ValueError:
            return False
        return True
    return kind != "json" or json_of(value) is not None


def json_of(value: str) -> Any:
    """The value of a JSON text; None when it is none (a bare `null` too)."""
    try:
        return json.loads(value)
    except ValueError:
        return None
