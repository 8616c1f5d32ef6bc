"""Questions that were asked on this machine: text, language, hardware. Answers are not kept; they are computed when read."""

import sqlite3
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from fitserve.foundation.errors import InputError
from fitserve.ledger.places import state_folder
from fitserve.ledger.sqlite_file import opened

_FILE = "questions.sqlite"
_VERSION = 1
_MOST_KEPT = 2000
"""The oldest give way: a page that anybody may write to must not fill a disk."""
_MAKE = """
CREATE TABLE IF NOT EXISTS questions (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  text TEXT NOT NULL, language TEXT NOT NULL, gpu TEXT NOT NULL DEFAULT '', asked_s REAL NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS questions_once ON questions(text, language, gpu);
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptQuestion:
    """A question as it was typed; `gpu` is the hardware that was named beside it (`rtx-3090:2`, empty: none)."""

    id: int
    text: str
    language: str
    gpu: str
    asked_s: float


class Questions:
    """The questions of this user's server, in a file of their own. Every call opens, commits and closes."""

    def __init__(self, folder: Path | None = None) -> None:
        self.path = (folder or state_folder()) / _FILE

    def keep(self, text: str, language: str, gpu: str = "") -> KeptQuestion:
        """The row of a question; the same question is kept once. Raises WorldError when it cannot be written."""
        with self._open() as connection:
            connection.execute(
                "INSERT INTO questions (text, language, gpu, asked_s) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (text, language, gpu) DO UPDATE SET asked_s = excluded.asked_s",
                (text, language, gpu, time.time()),
            )
            row = connection.execute(
                "SELECT * FROM questions WHERE text = ? AND language = ? AND gpu = ?", (text, language, gpu)
            ).fetchone()
            connection.execute(
                "DELETE FROM questions WHERE id IN (SELECT id FROM questions ORDER BY asked_s DESC LIMIT -1 OFFSET ?)",
                (_MOST_KEPT,),
            )
        return _question(row)

    def get(self, question_id: int) -> KeptQuestion:
        """One question. Raises InputError for one that is not there."""
        with self._open() as connection:
            row = connection.execute("SELECT * FROM questions WHERE id = ?", (question_id,)).fetchone()
        if row is None:
            raise InputError.of("question_unknown", given=f"q{question_id}")
        return _question(row)

    def newest(self, limit: int = 50) -> tuple[KeptQuestion, ...]:
        """Newest first; none where nothing was asked yet."""
        if not self.path.exists():
            return ()
        with self._open() as connection:
            rows = connection.execute(
                "SELECT * FROM questions ORDER BY asked_s DESC, id DESC LIMIT ?", (limit,)
            ).fetchall()
        return tuple(map(_question, rows))

    def forget(self, question_id: int) -> None:
        """Removes a question. Raises InputError for one that is not there."""
        self.get(question_id)
        with self._open() as connection:
            connection.execute("DELETE FROM questions WHERE id = ?", (question_id,))

    def _open(self) -> AbstractContextManager[sqlite3.Connection]:
        return opened(self.path, _VERSION, _MAKE)


def _question(row: sqlite3.Row) -> KeptQuestion:
    return KeptQuestion(
        id=row["id"], text=row["text"], language=row["language"], gpu=row["gpu"], asked_s=row["asked_s"]
    )
