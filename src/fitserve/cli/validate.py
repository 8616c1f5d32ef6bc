"""`fitserve validate`: predicted against measured."""

from typing import Any

from fitserve.cli.output import check_out, write
from fitserve.evidence.cases import cases_of, packaged_cases
from fitserve.evidence.score import rows_of, scoreboard
from fitserve.render.scoreboard import scoreboard_form, scoreboard_markdown, scoreboard_view
from fitserve.render.texts import Texts


def run_validate(values: dict[str, Any], texts: Texts) -> int:
    """`fitserve validate [FILE…]`: the cases of the package when no file is named."""
    check_out(values.get("out"))
    names = values.get("files") or []
    cases = cases_of(names) if names else packaged_cases()
    rows = [row for case in cases for row in rows_of(case)]
    merged = scoreboard(rows, merged=True)
    write(
        lambda: scoreboard_form(scoreboard(rows), rows, texts),
        scoreboard_view(merged, rows, texts),
        bool(values.get("json")),
        values.get("out"),
        lambda: scoreboard_markdown(merged, rows, texts),
    )
    return 0
