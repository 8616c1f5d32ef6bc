"""A question as words: spoken spellings replaced, numbers and units apart from what they stand beside."""

import difflib
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from fitserve.foundation.facts import load_toml
from fitserve.models.catalog.lookup import aliases, rows

_HANGUL = re.compile(r"[가-힣]")
_WORD = re.compile(r"[a-z0-9]+(?:\.\d+)*|[가-힣]+|[$₩+]")
_LIKE = 0.8
_LEAST_LETTERS = 4


@dataclass(frozen=True, slots=True)
class Word:
    """A word, and whether nothing but a dash, dot or underscore stands between it and the one before."""

    text: str
    start: int
    end: int
    is_glued: bool


@lru_cache(maxsize=1)
def lexicon() -> Mapping[str, Any]:
    """The table of words."""
    return load_toml("fitserve.ask", "words.toml")


@lru_cache(maxsize=64)
def pattern(name: str) -> re.Pattern[str]:
    """A pattern of the grammar by its name."""
    return re.compile(load_toml("fitserve.ask", "grammar.toml")[name])


def patterns(name: str) -> tuple[re.Pattern[str], ...]:
    """Patterns of the grammar that stand under one name, in order."""
    return tuple(re.compile(text) for text in load_toml("fitserve.ask", "grammar.toml")[name])


def language_of(text: str) -> str:
    """`ko` where a Korean letter stands in the text."""
    return "ko" if _HANGUL.search(text) else "en"


@lru_cache(maxsize=1)
def _spoken() -> tuple[re.Pattern[str], Mapping[str, str]]:
    """Spellings to words, and the pattern that finds them, longest first."""
    families = load_toml("fitserve.models", "spoken_names.toml")["words"]
    table = {korean: f" {word} " for korean, word in families.items()} | dict(lexicon()["spoken"])
    longest = sorted(table, key=len, reverse=True)
    # an ASCII spelling is a whole word; Korean words carry their particles behind them
    parts = [re.escape(s) if _HANGUL.search(s) else rf"(?<![a-z0-9]){re.escape(s)}(?![a-z])" for s in longest]
    return re.compile("|".join(parts)), table


def plain_text(text: str) -> str:
    """Lower case, compatibility forms folded, spoken words replaced, counts apart from names."""
    folded = unicodedata.normalize("NFKC", text).lower().replace("×", "x")
    folded = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", folded)
    pattern, table = _spoken()
    said = pattern.sub(lambda found: table[found[0]], folded)
    said = re.sub(r"(?<=\d)o(?=\d)", "0", said)
    said = re.sub(r"(?<=\d)\s*비(?=\s|$|[로를는은가이]\s|모델|급|짜리)", "b ", said)
    said = re.sub(r"(?<![\w.])(\d{1,2})\s*[x*]\s*(?=[a-z]|\d{4}(?!\d))", r"\1 x ", said)
    said = re.sub(r"(?<=[a-z0-9])\s*[x*](\d{1,2})(?![\d.a-z])", r" x \1 ", said)
    said = re.sub(r"(?<![a-z])[x*]\s*(\d{1,2})(?=\s|$|[가-힣,.)?])", r" x \1 ", said)
    return _mended(said)


def _mended(text: str) -> str:
    """Mistyped names put right."""
    known, left = lexicon()["mended"]["words"], set(lexicon()["mended"]["left"])

    def mend(found: re.Match[str]) -> str:
        word = found[0]
        if len(word) < _LEAST_LETTERS or word in known or word in left or word in _vocabulary():
            return word
        swapped = [name for name in known if len(name) == len(word) and sorted(name) == sorted(word)]
        near = swapped or difflib.get_close_matches(word, known, n=1, cutoff=_LIKE)
        return near[0] if near and abs(len(near[0]) - len(word)) <= 2 and near[0][0] == word[0] else word

    mended = re.sub(r"(?<![a-z0-9/_.\-])[a-z]+(?![a-z/])", mend, text)
    return re.sub(r"[가-힣]{2,}", lambda found: _mended_korean(found[0]), mended)


def _mended_korean(word: str) -> str:
    """A Korean family name with a letter wrong: compared by single letters, particles behind it stay."""
    for name, meaning in _korean_families().items():
        head = word[: len(name)]
        if len(name) < 3 or len(head) < len(name) or head[0] != name[0]:
            continue
        likeness = difflib.SequenceMatcher(None, unicodedata.normalize("NFD", head), unicodedata.normalize("NFD", name))
        if likeness.ratio() >= _LIKE:
            return f" {meaning} {word[len(name) :]}"
    return word


@lru_cache(maxsize=1)
def _korean_families() -> Mapping[str, str]:
    return {k: v for k, v in load_toml("fitserve.models", "spoken_names.toml")["words"].items() if " " not in k}


@lru_cache(maxsize=1)
def _vocabulary() -> frozenset[str]:
    """Words that stand in names of models."""
    return frozenset(word for name in (*rows(), *aliases()) for word in re.findall(r"[a-z]{4,}", name.lower()))


def words_of(plain: str) -> tuple[Word, ...]:
    """The words of a plain text."""
    found: list[Word] = []
    for match in _WORD.finditer(plain):
        between = plain[found[-1].end : match.start()] if found else " "
        found.append(Word(match[0], match.start(), match.end(), between in {"", "-", "_", ".", "/", ":"}))
    return tuple(found)


def number_of(word: str) -> int | None:
    """`2`, `두`, `two`; None for what is no number."""
    if word.isdecimal() and word.isascii():
        return int(word)
    value = lexicon()["numerals"].get(word)
    return None if value is None else int(value)
