"""NVIDIA devices through NVML: the driver's own names and totals."""

from dataclasses import replace
from types import ModuleType
from typing import Any

from fitserve.foundation.errors import InputError, ProbeFailed
from fitserve.hardware.identify import identify
from fitserve.hardware.types import Accelerator


def nvidia_devices(shared_bytes: int) -> tuple[Accelerator, ...]:
    """Devices in NVML order; empty without a driver. A GPU without memory of its own has the machine's `shared_bytes`.

    Raises ProbeFailed when the driver is there and does not answer.
    """
    import pynvml  # loading the driver library costs time that a plan for another machine need not pay

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        if isinstance(error, pynvml.NVMLError_LibraryNotFound | pynvml.NVMLError_DriverNotLoaded):
            return ()
        raise ProbeFailed("nvmlInit", str(error)) from error
    try:
        count = pynvml.nvmlDeviceGetCount()
        return tuple(device for index in range(count) for device in _devices(pynvml, index, shared_bytes))
    except pynvml.NVMLError as error:
        raise ProbeFailed("NVML", str(error)) from error
    finally:
        pynvml.nvmlShutdown()


def _devices(nvml: ModuleType, index: int, shared_bytes: int) -> tuple[Accelerator, ...]:
    """A GPU; one in MIG mode is its instances, because no program can use it whole."""
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    whole = _device(nvml, handle, shared_bytes)
    try:
        if not nvml.nvmlDeviceGetMigMode(handle)[0]:
            return (whole,)
    except nvml.NVMLError:  # a card or a driver that has no MIG
        return (whole,)
    found = []
    for slot in range(nvml.nvmlDeviceGetMaxMigDeviceCount(handle)):
        try:
            instance = nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, slot)
        except nvml.NVMLError_NotFound:  # an empty slot
            continue
        name, total = _text(nvml.nvmlDeviceGetName(instance)), int(nvml.nvmlDeviceGetMemoryInfo(instance).total)
        found.append(mig_instance(name, total, whole.compute_capability))
    return tuple(found)


def mig_instance(name: str, memory_bytes: int, compute_capability: str | None) -> Accelerator:
    """A slice of a GPU: its memory is read, its share of the rates is not known."""
    return Accelerator(
        id=name, vendor="nvidia", name=name, memory_bytes=memory_bytes, compute_capability=compute_capability
    )


def _text(name: str | bytes) -> str:
    return name.decode(errors="replace") if isinstance(name, bytes) else str(name)


def _device(nvml: ModuleType, handle: Any, shared_bytes: int) -> Accelerator:
    name = nvml.nvmlDeviceGetName(handle)
    try:
        total = int(nvml.nvmlDeviceGetMemoryInfo(handle).total)
    except nvml.NVMLError_NotSupported:  # GB10 and Jetson, whose memory is the processor's
        total = shared_bytes
    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    return device_from_driver(_text(name), total, f"{major}.{minor}")


def device_from_driver(name: str, memory_bytes: int, compute_capability: str) -> Accelerator:
    """The catalogue row of a driver name with the measured memory; a card without a row is described by the driver alone."""
    try:
        known = identify(name, memory_bytes).device
    except InputError:
        return Accelerator(
            id=name, vendor="nvidia", name=name, memory_bytes=memory_bytes, compute_capability=compute_capability
        )
    return replace(known, memory_bytes=memory_bytes, compute_capability=compute_capability, is_recalled=False)
