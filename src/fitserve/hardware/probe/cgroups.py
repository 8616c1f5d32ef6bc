"""Limits of the control group that this process runs in: of a container, a service or a user's session."""

from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_MEMBER = Path("/proc/self/cgroup")


def _folders(controller: str, root: Path, member: Path) -> list[Path]:
    """The process's own group and all above it, whose limits hold as well; version 2, then version 1."""
    found: list[Path] = []
    try:
        lines = member.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if names and controller not in names.split(","):
            continue
        base = root / controller if names else root
        group = base / path.lstrip("/")
        while group not in found:
            found.append(group)
            if group == base or base not in group.parents:
                break
            group = group.parent
    return [*found, root, root / controller]


def memory_limits(root: Path = _ROOT, member: Path = _MEMBER) -> tuple[str, ...]:
    """Files that may hold a limit on memory."""
    names = ("memory.max", "memory.limit_in_bytes")
    return tuple(str(folder / name) for folder in _folders("memory", root, member) for name in names)


def cpu_limit(root: Path = _ROOT, member: Path = _MEMBER) -> float | None:
    """Processors that the tightest quota allows, as a fraction; None without one."""
    found: list[float] = []
    for folder in _folders("cpu", root, member):
        parts = _words(folder / "cpu.max") or [
            *_words(folder / "cpu.cfs_quota_us"),
            *_words(folder / "cpu.cfs_period_us"),
        ]
        if len(parts) == 2 and all(part.isdigit() for part in parts) and int(parts[1]):
            found.append(int(parts[0]) / int(parts[1]))
    return min(found, default=None)


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii", errors="replace").split()
    except OSError:
        return []
