"""Units, versions, intervals: tables and laws."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fitserve.foundation.intervals import Interval, add_independent
from fitserve.foundation.paths import split_path
from fitserve.foundation.reasons import Verdict, does_not_fit, not_supported, note, unknown, verdict_of
from fitserve.foundation.units import GIB, ceil_div, parse_bytes, parse_tokens, round_up
from fitserve.foundation.versions import in_range, nearest_not_above, rows_for_version


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("64", 64 * GIB),
        ("64GiB", 64 * GIB),
        ("64 GB", 64 * 10**9),
        ("512m", 512 * 2**20),
        ("1.5GiB", 3 * GIB // 2),
        ("8b", 8),
    ],
)
def test_bytes_as_people_write_them(text: str, expected: int) -> None:
    assert parse_bytes(text) == expected


@pytest.mark.parametrize(("text", "expected"), [("8192", 8192), ("32k", 32768), ("1M", 1048576), ("8,192", 8192)])
def test_tokens_as_people_write_them(text: str, expected: int) -> None:
    assert parse_tokens(text) == expected


@pytest.mark.parametrize("text", ["", "GiB", "-5", "12 parsecs", "1e9", "0x10", "٣"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(text) + "$"):
        parse_bytes(text)


@given(st.integers(0, 10**12), st.integers(1, 10**6))
def test_rounding_up(value: int, step: int) -> None:
    rounded = round_up(value, step)
    assert rounded % step == 0 and 0 <= rounded - value < step
    assert ceil_div(value, step) * step == rounded


def test_version_ranges() -> None:
    rows = [{"from": "0.7.0", "to": "0.9.2", "value": 1}, {"from": "0.10.0", "to": "0.12.0", "value": 2}]
    assert [row["value"] for row in rows_for_version(rows, "0.9.2")] == [1]
    assert [row["value"] for row in rows_for_version(rows, "0.9.5")] == [1]
    assert [row["value"] for row in rows_for_version(rows, "0.33.0")] == [2]
    assert rows_for_version(rows, "0.6.0") == []
    assert in_range("0.10.0", "0.9.0", None) and not in_range("0.10.0rc1", "0.10.0", None)
    assert nearest_not_above("0.10.1", ["0.9.0", "0.10.0", "0.11.0"]) == "0.10.0"


intervals = st.tuples(st.floats(0, 1e12), st.floats(0, 1e6), st.floats(0, 1e6)).map(
    lambda t: Interval(t[0] - t[1], t[0], t[0] + t[2])
)


@given(st.lists(intervals, max_size=8))
def test_sums_of_intervals(parts: list[Interval]) -> None:
    total = add_independent(parts)
    assert total.likely == pytest.approx(sum(part.likely for part in parts))
    assert total.low <= total.likely <= total.high
    rounding = 1e-12 * (1 + abs(total.likely))  # of the differences of large numbers
    assert total.high - total.likely <= sum(part.high - part.likely for part in parts) + rounding
    assert add_independent(list(reversed(parts))) == total


def test_verdicts() -> None:
    assert verdict_of(()) is Verdict.FITS
    assert verdict_of((note("a"),)) is Verdict.FITS
    assert verdict_of((unknown("a"), does_not_fit("b"))) is Verdict.DOES_NOT_FIT
    assert verdict_of((unknown("a"), does_not_fit("b"), not_supported("c"))) is Verdict.NOT_SUPPORTED


@pytest.mark.parametrize(
    ("path", "folder", "name"),
    [
        ("/a/b c/", "/a", "b c"),
        ("/a\\b", "/", "a\\b"),
        ("model.gguf", "", "model.gguf"),
        ("./한글/x", "./한글", "x"),
        (r"C:\models\x.gguf", r"C:\models", "x.gguf"),
        (r".\models\x", r".\models", "x"),
    ],
)
def test_paths_are_split_as_their_system_does(path: str, folder: str, name: str) -> None:
    assert split_path(path) == (folder, name)
