"""Where this user's runs and downloads are kept. `FITSERVE_HOME` puts everything into one folder of the user's choice."""

import os
from pathlib import Path

import platformdirs

_NAME = "fitserve"


def state_folder() -> Path:
    """Folder of the ledger and of the logs of servers; not made here."""
    chosen = os.environ.get("FITSERVE_HOME", "").strip()
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_state_dir(_NAME, appauthor=False))


def cache_folder() -> Path:
    """Folder of what can be made or downloaded again."""
    chosen = os.environ.get("FITSERVE_HOME", "").strip()
    return Path(chosen).expanduser() / "cache" if chosen else Path(platformdirs.user_cache_dir(_NAME, appauthor=False))


def run_folder(run_id: int) -> Path:
    """Folder of one run: its log, the files that its command reads, how it ended."""
    return state_folder() / "runs" / str(run_id)
