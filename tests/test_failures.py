"""Signatures of failures: each finds its own sample and no other's, also among other lines; patterns and texts are sound."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fitserve.diagnose.ranking import causes_of
from fitserve.diagnose.scanning import scan
from fitserve.diagnose.signatures import categories, cause_row, table
from fitserve.engines.registry import ENTRIES
from fitserve.foundation.facts import load_toml
from fitserve.render.texts import LANGUAGES, texts

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
import signature_words

Row = Mapping[str, Any]
_TABLES = [*((entry.id, entry.package) for entry in ENTRIES), (None, "fitserve.diagnose")]
_ROWS = [(engine, row) for engine, package in _TABLES for row in load_toml(package, "failures.toml")["failures"]]
_OTHERS = [
    (engine, kind, row)
    for engine, package in _TABLES
    for kind in ("figures", "marks")
    for row in load_toml(package, "failures.toml").get(kind, ())
]
_BEFORE = "2026-11-20 10:00:00 INFO start of the log\nINFO 11-20 10:00:00 [config.py:12] nothing of note\n"
_MANY_ROWS = 180


def _name(value: object) -> str:
    return str(value["category"] if isinstance(value, Mapping) and "category" in value else value)[:50]


@pytest.mark.parametrize(("engine", "row"), _ROWS, ids=_name)
def test_a_sample_has_its_own_category_as_first_cause(engine: str | None, row: Row) -> None:
    hint = engine or "vllm"
    for log in (
        row["sample"],
        f"{_BEFORE}(EngineCore_DP0 pid=77) ERROR 11-20 10:00:01 [core.py:718] {row['sample']}\n[rank0]: …\n",
    ):
        causes = causes_of(scan([log.encode()]), hint)
        assert [cause.code for cause in causes][:1] == [row["category"]], log
    assert {"kind", "ref", "checked"} <= set(row["source"])


@pytest.mark.parametrize(("engine", "kind", "row"), _OTHERS, ids=_name)
def test_a_figure_or_mark_is_read_from_its_sample(engine: str | None, kind: str, row: Row) -> None:
    del engine
    found = scan([row["sample"].encode()])
    if kind == "figures":
        assert found.figures
    else:
        assert found.known or found.gpus or found.marks


def test_every_category_of_the_vocabulary_is_recognised() -> None:
    known = {row["category"] for _, row in _ROWS}
    assert len(categories()) >= 76 and not set(categories()) - known
    assert len(_ROWS) >= _MANY_ROWS


def test_words_are_those_of_the_patterns_and_no_repetition_is_nested() -> None:
    for path in signature_words.files():
        text = path.read_text(encoding="utf-8")
        assert signature_words.with_words(text) == text, path


def test_a_nested_repetition_and_a_pattern_without_a_word_are_refused() -> None:
    for pattern in (r"(a+)+ failed", r"(?:x \w+,?)* end", r"\d+: \d+"):
        with pytest.raises(ValueError, match=r"nested|no word"):
            signature_words.words_of(pattern)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_cause_and_remedy_has_its_text(language: str) -> None:
    words = texts(language)
    codes = {row["category"] for _, row in _ROWS} | set(load_toml("fitserve.diagnose", "causes.toml")["causes"])
    assert codes == words.codes("cause")
    for code in codes:
        for remedy in cause_row(code)["remedies"]:
            assert words.raw("remedy", remedy)


def test_what_a_cause_outranks_exists() -> None:
    causes = load_toml("fitserve.diagnose", "causes.toml")["causes"]
    for row in causes.values():
        assert set(row.get("beats", ())) <= set(causes)
        assert row.get("recompute") in {None, "memory", "version", "load", "split", "format"}


def test_rules_are_indexed_by_every_word() -> None:
    known = table()
    for rule in known.rules:
        assert rule.words and all(rule in known.by_word[word] for word in rule.words)
