"""Files of the kernel and texts of drivers, made safe to print and to share."""

import unicodedata
from pathlib import Path

_MOST_LETTERS = 80


def plain_text(text: str) -> str:
    """One short line without control characters."""
    letters = "".join(letter if unicodedata.category(letter)[0] != "C" else " " for letter in text)
    return " ".join(letters.split())[:_MOST_LETTERS]


def read_line(path: Path | str) -> str:
    """The text of a small file; empty when it cannot be read."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip("\x00 \n\t")
    except OSError:
        return ""


def read_number(path: Path | str) -> int | None:
    """The number in a small file; None without one."""
    text = read_line(path)
    return int(text) if text.isascii() and text.isdigit() else None
