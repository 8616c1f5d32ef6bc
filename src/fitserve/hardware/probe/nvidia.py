"""NVIDIA devices through NVML: the driver's own names and totals."""

from dataclasses import replace

from fitserve.foundation.errors import InputError, ProbeFailed
from fitserve.hardware.identify import identify
from fitserve.hardware.types import Accelerator


def nvidia_devices() -> tuple[Accelerator, ...]:
    """Devices in NVML order; empty without a driver. Raises ProbeFailed when the driver is there and does not answer."""
    import pynvml  # loading the driver library costs time that a plan for another machine need not pay

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        if isinstance(error, pynvml.NVMLError_LibraryNotFound | pynvml.NVMLError_DriverNotLoaded):
            return ()
        raise ProbeFailed("nvmlInit", str(error)) from error
    try:
        return tuple(_device(pynvml, index) for index in range(pynvml.nvmlDeviceGetCount()))
    except pynvml.NVMLError as error:
        raise ProbeFailed("NVML", str(error)) from error
    finally:
        pynvml.nvmlShutdown()


def _device(nvml: object, index: int) -> Accelerator:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)  # type: ignore[attr-defined]
    name = nvml.nvmlDeviceGetName(handle)  # type: ignore[attr-defined]
    total = int(nvml.nvmlDeviceGetMemoryInfo(handle).total)  # type: ignore[attr-defined]
    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)  # type: ignore[attr-defined]
    return device_from_driver(name.decode() if isinstance(name, bytes) else str(name), total, f"{major}.{minor}")


def device_from_driver(name: str, memory_bytes: int, compute_capability: str) -> Accelerator:
    """The catalogue row of a driver name with the measured memory; a card without a row is described by the driver alone."""
    try:
        known = identify(name, memory_bytes).device
    except InputError:
        return Accelerator(
            id=name, vendor="nvidia", name=name, memory_bytes=memory_bytes, compute_capability=compute_capability
        )
    return replace(known, memory_bytes=memory_bytes, compute_capability=compute_capability, is_recalled=False)
