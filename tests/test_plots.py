"""Pictures in text: sizes, places, widths of terminals."""

from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from fitserve.render.plots import Beside, Plot

NUMBERS = st.floats(0.001, 1e6)


def plot(points: list[tuple[float, float]], **fields: object) -> Plot:
    made: dict[str, object] = {
        "title": "t",
        "points": tuple(points),
        "x_text": lambda v: f"{v:.3g}",
        "y_text": lambda v: f"{v:.3g}",
    }
    return Plot(**made | fields)  # type: ignore[arg-type]


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=12), st.integers(60, 200), st.booleans())
def test_no_line_is_wider_than_the_terminal_and_the_frame_is_whole(
    points: list[tuple[float, float]], width: int, is_log: bool
) -> None:
    lines = plot(points, log_x=is_log, log_y=is_log, x_title="users").lines(width)
    assert len(lines) == 11
    assert all(line.cell_len <= width for line in lines)
    frame = [line.plain for line in lines[1:9]]
    assert len({max(text.find("┤"), text.find("│")) for text in frame}) == 1


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=2, max_size=9, unique=True))
def test_labels_are_drawn_once_and_never_over_each_other(points: list[tuple[float, float]]) -> None:
    labels = tuple(chr(ord("A") + index) for index in range(len(points)))
    text = "".join(line.plain for line in plot(points, labels=labels, title="").lines(80))
    assert all(text.count(label) <= 1 for label in labels)
    assert labels[0] in text


def test_a_rising_line_goes_from_the_lower_left_to_the_upper_right() -> None:
    body = [line.plain.split("┤")[-1].split("│")[-1] for line in plot([(1, 1), (2, 2), (3, 3)]).lines(60)[1:9]]
    assert body[0].rstrip()[-1] != " " and body[-1][0] != " "
    assert body[0].strip() == body[0].rstrip()[-len(body[0].strip()) :]
    assert body[0][0] == " " and body[-1].rstrip() != body[-1]


@pytest.mark.parametrize(("width", "rows"), [(140, 11), (80, 11), (60, 22)])
def test_pictures_stand_beside_each_other_where_there_is_room(width: int, rows: int) -> None:
    console = Console(width=width, record=True, file=StringIO())
    console.print(Beside((plot([(1, 1), (9, 4)], title="동시 사용자"), plot([(1, 5), (9, 2)]))))
    lines = console.export_text().rstrip("\n").split("\n")
    assert len(lines) == rows
    assert all(cell_len(line) <= width for line in lines)
