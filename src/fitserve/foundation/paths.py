"""Paths as text: of this machine or of the one that a command is for."""

import re

_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\|\.{1,2}\\|~\\")


def is_windows_path(text: str) -> bool:
    """Whether a backslash in this path separates folders: it starts as only Windows paths do."""
    return bool(_WINDOWS.match(text))


def split_path(text: str) -> tuple[str, str]:
    """(folder, last part) of a path; the folder is empty when there is none, `/` for the root."""
    signs = "/\\" if is_windows_path(text) else "/"
    trimmed = text.rstrip(signs)
    cut = max(trimmed.rfind(sign) for sign in signs)
    return (trimmed[:cut] or trimmed[: cut + 1] if cut >= 0 else ""), trimmed[cut + 1 :]
