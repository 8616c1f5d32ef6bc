"""Operating system, container, virtual machine, and what runs containers here."""

import os
import platform
import re
from pathlib import Path
from shutil import which

from fitserve.hardware.probe.bounded import printed
from fitserve.hardware.probe.plain import plain_text, read_line
from fitserve.hardware.report import SystemReading

_SYSTEMS = {"Linux": "linux", "Windows": "windows", "Darwin": "macos"}
_CONTAINERS = (("kubepods", "kubernetes"), ("docker", "docker"), ("libpod", "podman"), ("lxc", "lxc"))


def system_report() -> SystemReading:
    """What programs run on here. Names that people chose (host, kernel suffix, user) are left out."""
    kernel = platform.release()
    numbers = re.match(r"\d+(\.\d+)*", kernel)
    return SystemReading(
        os=_SYSTEMS.get(platform.system(), "linux"), name=_name(), kernel=numbers[0] if numbers else None,
        architecture=platform.machine() or None, wsl=wsl_version(kernel), container=container_kind(Path("/")),
        is_virtual=_is_virtual(), rocm_version=_rocm(), docker=_docker(), docker_answers=_docker_answers(),
        nvidia_container_toolkit=_toolkit(),
    )  # fmt: skip


def _name() -> str | None:
    if platform.system() == "Darwin":
        return f"macOS {platform.mac_ver()[0]}"
    if platform.system() == "Windows":
        return plain_text(f"Windows {platform.release()} {platform.version()}")
    try:
        return plain_text(platform.freedesktop_os_release().get("PRETTY_NAME", "")) or None
    except OSError:
        return None


def wsl_version(kernel: str) -> int | None:
    """1 or 2 where Linux runs inside Windows."""
    if "microsoft" not in kernel.lower():
        return None
    return 2 if "wsl2" in kernel.lower() or "microsoft-standard" in kernel.lower() else 1


def container_kind(root: Path) -> str | None:
    """Which kind of container this process is in; None outside."""
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        return "kubernetes"
    if (root / ".dockerenv").exists():
        return "docker"
    if (root / "run" / ".containerenv").exists():
        return "podman"
    groups = read_line(root / "proc" / "1" / "cgroup")
    return next((kind for mark, kind in _CONTAINERS if mark in groups), None)


def _is_virtual() -> bool | None:
    """By the processor's flag on x86 Linux."""
    text = read_line("/proc/cpuinfo")
    return bool(re.search(r"^flags\s*:.*\bhypervisor\b", text, re.MULTILINE)) if "flags" in text else None


def _rocm() -> str | None:
    found = re.match(r"\d+(\.\d+)+", read_line("/opt/rocm/.info/version"))
    return found[0] if found else None


def _docker() -> str | None:
    found = re.search(r"version (\d+(\.\d+)+)", printed("docker", "--version") or "")
    return found[1] if found else None


def _docker_answers() -> bool | None:
    """Whether the daemon answers this user; None without Docker."""
    return None if which("docker") is None else printed("docker", "version", "--format", "ok", timeout_s=4) is not None


def _toolkit() -> str | None:
    found = re.search(r"(\d+\.\d+\.\d+)", printed("nvidia-ctk", "--version") or "")
    return found[1] if found else None
