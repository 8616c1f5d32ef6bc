"""Questions that were asked on this machine: text, language, hardware. Answers are not kept; they are computed when read."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from fitserve.foundation.errors import InputError, WorldError
from fitserve.ledger.places import state_folder

_FILE = "questions.sqlite"
_VERSION = 1
_WAIT_S = 10.0
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

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A transaction: committed at its end, rolled back by an error."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with closing(sqlite3.connect(self.path, timeout=_WAIT_S)) as connection:
                connection.row_factory = sqlite3.Row
                _prepare(connection)
                with connection:
                    yield connection
        except (sqlite3.Error, OSError) as error:
            raise WorldError(f"questions {self.path}", str(error)) from error


def _prepare(connection: sqlite3.Connection) -> None:
    """Makes the table of a new file. Raises sqlite3.Error for a file of a later release."""
    connection.execute("PRAGMA synchronous=NORMAL")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > _VERSION:
        raise sqlite3.DatabaseError(f"written by a later fitserve (format {version}, known {_VERSION})")
    if version < _VERSION:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.executescript(_MAKE)
        connection.execute(f"PRAGMA user_version = {_VERSION}")


def _question(row: sqlite3.Row) -> KeptQuestion:
    return KeptQuestion(
        id=row["id"], text=row["text"], language=row["language"], gpu=row["gpu"], asked_s=row["asked_s"]
    )
