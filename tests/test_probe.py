"""What this machine is: driver names, sysfs files, the memory limit of a container."""

from pathlib import Path
from types import ModuleType, SimpleNamespace

import psutil
import pynvml
import pytest

from fitserve.foundation.errors import ProbeFailed
from fitserve.foundation.units import GIB
from fitserve.hardware.probe import nvidia
from fitserve.hardware.probe.amd import amd_devices
from fitserve.hardware.probe.machine import ram_bytes, this_machine
from fitserve.hardware.probe.nvidia import device_from_driver, nvidia_devices


@pytest.mark.parametrize(
    ("name", "total", "capability", "expected"),
    [
        ("NVIDIA GeForce RTX 3090", 24 * GIB, "8.6", "rtx-3090"),
        ("Tesla V100-SXM2-32GB", 32 * GIB, "7.0", "v100-sxm-32gb"),
        ("NVIDIA A100-SXM4-80GB", 80 * GIB, "8.0", "a100-sxm-80gb"),
        ("NVIDIA A100-SXM4-40GB", 40 * GIB, "8.0", "a100-sxm-40gb"),
        ("NVIDIA H100 80GB HBM3", 80 * GIB, "9.0", "h100-sxm-80gb"),
    ],
)
def test_a_drivers_name_leads_to_the_row_with_the_measured_memory(
    name: str, total: int, capability: str, expected: str
) -> None:
    device = device_from_driver(name, total, capability)
    assert (device.id, device.memory_bytes, device.compute_capability) == (expected, total, capability)


def test_a_card_without_a_row_is_described_by_its_driver() -> None:
    device = device_from_driver("NVIDIA Imaginary 9999", 12 * GIB, "12.0")
    assert (device.id, device.vendor, device.memory_bytes) == ("NVIDIA Imaginary 9999", "nvidia", 12 * GIB)
    assert device.bandwidth_bytes_per_s is None


def _driver(memory: object) -> ModuleType:
    """The three calls of the driver library that are used of one device."""
    module = ModuleType("nvml")

    def total(_: object) -> object:
        if isinstance(memory, Exception):
            raise memory
        return memory

    vars(module).update(
        NVMLError_NotSupported=pynvml.NVMLError_NotSupported,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetName=lambda _: b"NVIDIA GB10",
        nvmlDeviceGetMemoryInfo=total,
        nvmlDeviceGetCudaComputeCapability=lambda _: (12, 1),
    )
    return module


def test_a_gpu_that_shares_the_processors_memory_has_that() -> None:
    shared = _driver(pynvml.NVMLError_NotSupported(pynvml.NVML_ERROR_NOT_SUPPORTED))
    assert nvidia._device(shared, 0, 119 * GIB).memory_bytes == 119 * GIB
    assert nvidia._device(_driver(SimpleNamespace(total=7)), 0, 119 * GIB).memory_bytes == 7


def test_a_driver_that_fails_is_an_error_and_none_is_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(code: int) -> None:
        raise pynvml.NVMLError(code)

    monkeypatch.setattr(pynvml, "nvmlInit", lambda: fail(pynvml.NVML_ERROR_UNKNOWN))
    with pytest.raises(ProbeFailed):
        nvidia_devices(0)
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: fail(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND))
    assert nvidia_devices(0) == ()


def _card(root: Path, name: str, **files: str) -> None:
    (root / name / "device").mkdir(parents=True)
    for file, text in files.items():
        (root / name / "device" / file).write_text(text + "\n")


def test_amd_cards_by_their_files(tmp_path: Path) -> None:
    assert amd_devices(tmp_path / "none") == ()
    _card(tmp_path, "card0", vendor="0x10de", mem_info_vram_total=str(24 * GIB))
    _card(tmp_path, "card1", vendor="0x1002", mem_info_vram_total=str(24 * GIB), product_name="Radeon RX 7900 XTX")
    _card(tmp_path, "card2", vendor="0x1002", mem_info_vram_total=str(512 << 20), product_name="integrated")
    _card(tmp_path, "card1-DP-1", vendor="0x1002", mem_info_vram_total=str(24 * GIB))
    assert [(device.id, device.memory_bytes) for device in amd_devices(tmp_path)] == [("rx-7900-xtx", 24 * GIB)]


def test_the_limit_of_a_container_counts(tmp_path: Path) -> None:
    limit = tmp_path / "memory.max"
    limit.write_text("1073741824\n")
    assert ram_bytes((str(tmp_path / "none"), str(limit))) == GIB
    limit.write_text("max\n")
    assert ram_bytes((str(limit),)) == psutil.virtual_memory().total


def test_this_machine_has_memory_and_a_system() -> None:
    found = this_machine()
    assert found.host.os in {"linux", "windows", "macos"}
    assert found.host.ram_bytes is not None
    assert 0 < found.host.ram_bytes <= psutil.virtual_memory().total
