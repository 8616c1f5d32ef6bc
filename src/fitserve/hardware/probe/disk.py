"""The disk that models are kept on: free space, what it is, its file system."""

import os
import re
import shutil
from pathlib import Path

import psutil

from fitserve.hardware.probe.plain import plain_text, read_line
from fitserve.hardware.report import DiskReading

_NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "fuse.sshfs", "ceph", "lustre", "glusterfs", "afs", "9p", "drvfs"}
_MEMORY = {"tmpfs", "ramfs"}


def model_folder() -> Path:
    """The folder where the Hugging Face libraries keep models, or the nearest one above it that exists."""
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HF_HOME")
    folder = Path(named) if named else Path.home() / ".cache" / "huggingface"
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    return folder


def disk_report(folder: Path, sys: Path = Path("/sys")) -> DiskReading:
    """The disk of a folder."""
    try:
        usage = shutil.disk_usage(folder)
    except OSError:
        return DiskReading()
    system = _file_system(folder)
    return DiskReading(
        total_bytes=usage.total, free_bytes=usage.free, kind=_kind(folder, system, sys), file_system=system
    )


def _file_system(folder: Path) -> str | None:
    """The type of the mount that holds the folder: the one with the longest path above it."""
    real = folder.resolve()
    best: tuple[int, str] | None = None
    try:
        mounts = psutil.disk_partitions(all=True)
    except OSError:
        return None
    for mount in mounts:
        place = Path(mount.mountpoint)
        if (place == real or place in real.parents) and (best is None or len(place.parts) >= best[0]):
            best = (len(place.parts), mount.fstype)
    return (plain_text(best[1]).lower() or None) if best else None


def _kind(folder: Path, file_system: str | None, sys: Path) -> str:
    if file_system in _MEMORY:
        return "memory"
    if file_system in _NETWORK:
        return "network"
    try:
        number = folder.stat().st_dev
    except OSError:
        return "unknown"
    if not hasattr(os, "major"):
        return "unknown"
    block = (sys / "dev" / "block" / f"{os.major(number)}:{os.minor(number)}").resolve()
    return block_kind(block)


def block_kind(block: Path) -> str:
    """Kind of a block device's folder in sysfs; a mapped or joined device has that of the slowest below it."""
    below = sorted((block / "slaves").iterdir()) if (block / "slaves").is_dir() else []
    if below:
        kinds = [block_kind(item.resolve()) for item in below]
        return next((kind for kind in ("hdd", "virtual", "unknown", "ssd") if kind in kinds), kinds[0])
    disk = block if (block / "queue").is_dir() else block.parent  # a partition lies inside its disk
    if re.match(r"nvme\d", disk.name):
        return "nvme"
    if re.match(r"(vd|xvd)[a-z]", disk.name):
        return "virtual"
    turning = read_line(disk / "queue" / "rotational")
    return {"1": "hdd", "0": "ssd"}.get(turning, "unknown")
