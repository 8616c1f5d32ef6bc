"""The ledger: one SQLite file with a row a run. Write-ahead logging, so that a reader never waits for a writer."""

import json
import sqlite3
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from fitserve.foundation.errors import InputError
from fitserve.ledger.places import state_folder
from fitserve.ledger.sqlite_file import opened
from fitserve.ledger.types import Kind, Run, State

_FILE = "ledger.sqlite"
_VERSION = 1
_JSON = ("request", "deployment", "command", "process", "result", "cause")
_COLUMNS = ("state", "ended_s", "title", "log_tail", *_JSON)
_MAKE = """
CREATE TABLE IF NOT EXISTS runs (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  kind TEXT NOT NULL, state TEXT NOT NULL, started_s REAL NOT NULL, ended_s REAL, title TEXT NOT NULL,
  parent INTEGER REFERENCES runs(id),
  request TEXT, deployment TEXT, command TEXT, process TEXT, log_tail TEXT, result TEXT, cause TEXT
);
CREATE INDEX IF NOT EXISTS runs_by_kind ON runs(kind, state);
CREATE TABLE IF NOT EXISTS corrections (name TEXT PRIMARY KEY, made_s REAL NOT NULL, value TEXT NOT NULL);
"""


class Ledger:
    """The runs of this user. Every call opens, commits and closes: a process that dies leaves whole rows."""

    def __init__(self, folder: Path | None = None) -> None:
        self.path = (folder or state_folder()) / _FILE

    def begin(
        self,
        kind: Kind,
        title: str,
        *,
        parent: int | None = None,
        request: Mapping[str, Any] | None = None,
        deployment: Mapping[str, Any] | None = None,
        command: Mapping[str, Any] | None = None,
    ) -> Run:
        """A new row in the state `starting`. Raises WorldError when it cannot be written."""
        values = (
            kind.value, State.STARTING.value, time.time(), title, parent, _text(request), _text(deployment), _text(command)
        )  # fmt: skip
        with self._open() as connection:
            cursor = connection.execute(
                "INSERT INTO runs (kind, state, started_s, title, parent, request, deployment, command)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                values,
            )
            run_id = int(cursor.lastrowid or 0)
        return self.get(run_id)

    def update(self, run_id: int, **columns: Any) -> Run:
        """Sets columns of a row; a mapping goes in as JSON. Raises InputError for a run that is not there."""
        if unknown := set(columns) - set(_COLUMNS):
            raise ValueError(f"no column {sorted(unknown)}")
        values = [_text(value) if name in _JSON else value for name, value in columns.items()]
        with self._open() as connection:
            names = ", ".join(f"{name} = ?" for name in columns)
            connection.execute(f"UPDATE runs SET {names} WHERE id = ?", (*values, run_id))  # noqa: S608 - names of a closed list
        return self.get(run_id)

    def end(self, run_id: int, state: State, **columns: Any) -> Run:
        """The last word on a run."""
        return self.update(run_id, state=state.value, ended_s=time.time(), **columns)

    def add(self, kind: Kind, title: str, result: Mapping[str, Any], **columns: Any) -> Run:
        """A run that is over when it is told."""
        now = time.time()
        given = {"request": None, "deployment": None, "command": None, "parent": None, "log_tail": None} | columns
        values = {name: _text(value) if name in _JSON else value for name, value in given.items()}
        values |= {"kind": kind.value, "state": State.DONE.value, "started_s": now, "ended_s": now, "title": title}
        values["result"] = _text(result)
        with self._open() as connection:
            names = ", ".join(values)
            cursor = connection.execute(
                f"INSERT INTO runs ({names}) VALUES ({', '.join('?' * len(values))})",  # noqa: S608 - our own names
                tuple(values.values()),
            )
            return _run(connection.execute("SELECT * FROM runs WHERE id = ?", (cursor.lastrowid,)).fetchone())

    def get(self, run_id: int) -> Run:
        """One run. Raises InputError for one that is not there."""
        with self._open() as connection:
            row = connection.execute("SELECT * FROM runs WHERE id = ?", (run_id,)).fetchone()
        if row is None:
            raise InputError.of("run_unknown", given=run_id)
        return _run(row)

    def runs(
        self, kinds: tuple[Kind, ...] = (), states: tuple[State, ...] = (), limit: int | None = None
    ) -> tuple[Run, ...]:
        """Newest first."""
        wanted = [("kind", [kind.value for kind in kinds]), ("state", [state.value for state in states])]
        clauses = [f"{name} IN ({', '.join('?' * len(values))})" for name, values in wanted if values]
        where = f" WHERE {' AND '.join(clauses)}" if clauses else ""
        values = [value for _, values in wanted for value in values]
        with self._open() as connection:
            rows = connection.execute(
                f"SELECT * FROM runs{where} ORDER BY id DESC LIMIT ?",  # noqa: S608 - names of a closed list
                (*values, -1 if limit is None else limit),
            ).fetchall()
        return tuple(_run(row) for row in rows)

    def forget(self, run_id: int) -> None:
        """Removes a row. Raises InputError for one that is not there."""
        self.get(run_id)
        with self._open() as connection:
            connection.execute("UPDATE runs SET parent = NULL WHERE parent = ?", (run_id,))
            connection.execute("DELETE FROM runs WHERE id = ?", (run_id,))

    def corrections(self) -> dict[str, Mapping[str, Any]]:
        """Corrections of this machine's predictions by name."""
        with self._open() as connection:
            rows = connection.execute("SELECT name, value FROM corrections ORDER BY name").fetchall()
        return {row["name"]: json.loads(row["value"]) for row in rows}

    def keep_correction(self, name: str, value: Mapping[str, Any]) -> None:
        """Adds or replaces one."""
        with self._open() as connection:
            connection.execute("INSERT OR REPLACE INTO corrections VALUES (?, ?, ?)", (name, time.time(), _text(value)))

    def drop_correction(self, name: str) -> bool:
        """Removes one; whether it was there."""
        with self._open() as connection:
            return connection.execute("DELETE FROM corrections WHERE name = ?", (name,)).rowcount > 0

    def _open(self) -> AbstractContextManager[sqlite3.Connection]:
        return opened(self.path, _VERSION, _MAKE)


def _text(value: Mapping[str, Any] | None) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False)


def _run(row: sqlite3.Row) -> Run:
    values = {name: row[name] for name in row.keys()}  # noqa: SIM118 - a row iterates over its values
    for name in _JSON:
        values[name] = None if values[name] is None else json.loads(values[name])
    return Run(**(values | {"kind": Kind(values["kind"]), "state": State(values["state"])}))
