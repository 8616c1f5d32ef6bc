"""Writes `words` into the rows of failures.toml: one of them stands as a whole word in every text that a pattern matches.

    python tools/signature_words.py          write what changed
    python tools/signature_words.py --check  write nothing; exit 1 when a row differs

They let a reader pass over megabytes that hold none of them. A word at the edge of a pattern counts as whole: patterns are
written so. A pattern without any is refused, and so is one whose repetitions are nested: it could take exponential time.
"""

import argparse
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any

SOURCES = Path(__file__).parents[1] / "src/fitserve"
WORD = re.compile(r"\w+")
COMMON = {
    "CUDA", "Error", "GPU", "GiB", "KV", "MiB", "a", "access", "allocate", "an", "and", "any", "are", "as", "at",
    "available", "be", "been", "by", "cache", "can", "cannot", "co", "code", "config", "could", "data", "device",
    "does", "error", "errors", "exit", "failed", "failure", "file", "for", "found", "from", "generation", "has",
    "have", "https", "huggingface", "if", "in", "is", "it", "length", "lib", "line", "load", "loading", "maximum",
    "memory", "message", "model", "must", "name", "new", "no", "not", "of", "on", "or", "other", "out", "packages",
    "process", "python", "requests", "run", "server", "set", "site", "size", "start", "started", "status", "than",
    "that", "the", "this", "to", "tokens", "torch", "type", "unable", "url", "usage", "user", "using", "usr", "value",
    "was", "were", "with", "you", "your",
}  # fmt: skip
"""Words of so many lines that a reader would stop at each."""
EVERYWHERE = {
    "tokens",
    "token",
    "GPU",
    "KV",
    "cache",
    "request",
    "requests",
    "usage",
    "time",
    "level",
    "prompt",
    "server",
}
"""Words of the lines that a running server writes without end."""
REPEATS = {"MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"}


def cost(words: frozenset[str]) -> tuple[int, int]:
    """How often a reader would stop at these words: common ones weigh most, then short ones."""

    def of(word: str) -> int:
        if word in EVERYWHERE:
            return 1000
        return 100 if word in COMMON or word.isdigit() else 8 if len(word) < 5 else 1

    return sum(of(word) for word in words), -min(map(len, words))


def runs(items: list[Any], left: bool, right: bool) -> Iterator[frozenset[str]]:
    """The words inside runs of literal characters, each a set of one. `left`, `right`: whether a word may go on there."""
    text, is_open_left = "", left
    for operator, argument in [*items, ("END", None)]:
        if str(operator) == "LITERAL":
            text += chr(argument)
            continue
        is_wordy = right if str(operator) == "END" else _goes_on(operator, argument)
        for match in WORD.finditer(text):
            if (match.start() == 0 and is_open_left) or (match.end() == len(text) and is_wordy):
                continue
            yield frozenset({match[0]})
        text, is_open_left = "", is_wordy


def _goes_on(operator: Any, argument: Any) -> bool:
    """Whether a word beside this item may go on inside it."""
    if str(operator) == "LITERAL":
        return WORD.match(chr(argument)) is not None
    return not (str(operator) == "AT" or _is_space(operator, argument))


def _is_space(operator: Any, argument: Any) -> bool:
    """Whether an item is white space, a word boundary, or repeated white space."""
    if str(operator) in REPEATS:
        low, _, inner = argument
        return low > 0 and len(inner) == 1 and not _goes_on(*inner[0])
    return str(operator) == "IN" and all(_is_gap(str(kind), value) for kind, value in argument)


def _is_gap(kind: str, value: Any) -> bool:
    """Whether a member of a set of characters never is part of a word."""
    if kind == "LITERAL":
        return WORD.match(chr(value)) is None
    return str(value) in {"CATEGORY_SPACE", "CATEGORY_NOT_WORD"}


def best(items: list[Any], left: bool = False, right: bool = False) -> frozenset[str] | None:
    """The cheapest set of words of which every match holds one; None when there is none."""
    found = list(runs(items, left, right))
    for index, (operator, argument) in enumerate(items):
        before = _goes_on(*items[index - 1]) if index else left
        after = _goes_on(*items[index + 1]) if index + 1 < len(items) else right
        inner: frozenset[str] | None = None
        if str(operator) == "SUBPATTERN":
            inner = best(list(argument[-1]), before, after)
        elif str(operator) in REPEATS and argument[0] > 0:
            inner = best(list(argument[2]), True, True)
        elif str(operator) == "BRANCH":
            branches = [best(list(branch), before, after) for branch in argument[1]]
            inner = frozenset().union(*(b for b in branches if b)) if all(branches) else None
        if inner:
            found.append(inner)
    return min(found, key=cost, default=None)


def is_nested(items: list[Any], inside: bool = False) -> bool:
    """Whether an unbounded repetition stands inside another one."""
    for operator, argument in items:
        if str(operator) in REPEATS:
            endless = argument[1] == parser.MAXREPEAT
            if (endless and inside) or is_nested(list(argument[2]), inside or endless):
                return True
        elif str(operator) == "SUBPATTERN":
            if is_nested(list(argument[-1]), inside):
                return True
        elif str(operator) == "BRANCH" and any(is_nested(list(branch), inside) for branch in argument[1]):
            return True
    return False


def words_of(pattern: str) -> list[str]:
    """The words of a pattern. Raises ValueError for one that has none, or whose repetitions are nested."""
    items = list(parser.parse(pattern))
    if is_nested(items):
        raise ValueError(f"nested repetition: {pattern}")
    found = best(items)
    if not found:
        raise ValueError(f"no word stands in every match: {pattern}")
    return sorted(found)


def files() -> list[Path]:
    """Every table of signatures."""
    return [*sorted(SOURCES.glob("engines/*/failures.toml")), SOURCES / "diagnose/failures.toml"]


def with_words(text: str) -> str:
    """A table with its `words` lines made anew."""
    rows = iter([row for key in ("failures", "figures", "marks") for row in tomllib.loads(text).get(key, [])])
    lines = []
    for line in text.splitlines():
        if line.startswith("words = "):
            continue
        lines.append(line)
        if line.startswith("pattern = "):
            lines.append("words = " + json.dumps(words_of(next(rows)["pattern"]), ensure_ascii=False))
    return "\n".join(lines) + "\n"


def main() -> int:
    """Writes or checks; returns the exit code."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--check", action="store_true")
    only_check = arguments.parse_args().check
    changed = 0
    for path in files():
        text = path.read_text(encoding="utf-8")
        made = with_words(text)
        if made != text:
            changed += 1
            print(("differs: " if only_check else "wrote ") + str(path.relative_to(SOURCES)))
            if not only_check:
                path.write_text(made, encoding="utf-8")
    return 1 if only_check and changed else 0


if __name__ == "__main__":
    sys.exit(main())
