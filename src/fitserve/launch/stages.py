"""What an engine is doing, read off its log: by the `[[stages]]` rows of the engine's facts."""

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

_LONGEST_LINE = 4000


class Stage(StrEnum):
    """In the order in which they come."""

    START = "start"
    DOWNLOAD = "download"
    LOAD = "load"
    ALLOCATE = "allocate"
    WARM_UP = "warm_up"
    READY = "ready"

    @property
    def order(self) -> int:
        """Position."""
        return list(Stage).index(self)


class StageReader:
    """Follows a log line by line; a stage never goes back, because workers print out of step."""

    def __init__(self, rows: tuple[tuple[Stage, re.Pattern[str]], ...]) -> None:
        self.rows, self.stage = rows, Stage.START

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> "StageReader":
        """For an engine; without rows every line leaves the stage as it is."""
        rows: Sequence[Mapping[str, str]] = facts.get("stages", ())
        return cls(tuple((Stage(row["stage"]), re.compile(row["pattern"])) for row in rows))

    def read(self, line: str) -> Stage | None:
        """The stage that begins with a line; None when none does."""
        text = line[:_LONGEST_LINE]
        for stage, pattern in self.rows:
            if stage.order > self.stage.order and pattern.search(text):
                self.stage = stage
                return stage
        return None
