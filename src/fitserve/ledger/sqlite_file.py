"""A SQLite file of this user: opened, committed and closed by each call, so that a process that dies leaves whole rows."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from fitserve.foundation.errors import WorldError

_WAIT_S = 10.0


@contextmanager
def opened(path: Path, version: int, make: str) -> Iterator[sqlite3.Connection]:
    """A transaction: committed at its end, rolled back by an error. `make` is the script of a file of `version`.

    Raises WorldError for a file that cannot be read or written, and for one of a later release. The log is written ahead:
    a reader never waits for a writer, and a power cut loses the last row at most.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with closing(sqlite3.connect(path, timeout=_WAIT_S)) as connection:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA synchronous=NORMAL")
            found = connection.execute("PRAGMA user_version").fetchone()[0]
            if found > version:
                raise sqlite3.DatabaseError(f"written by a later fitserve (format {found}, known {version})")
            if found < version:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.executescript(make)
                connection.execute(f"PRAGMA user_version = {version}")
            with connection:
                yield connection
    except (sqlite3.Error, OSError) as error:
        raise WorldError(f"{path.stem} {path}", str(error)) from error
