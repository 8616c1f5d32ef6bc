"""NVIDIA devices through NVML: the driver's own names and totals."""

from dataclasses import replace
from types import ModuleType

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
        return tuple(_device(pynvml, index, shared_bytes) for index in range(pynvml.nvmlDeviceGetCount()))
    except pynvml.NVMLError as error:
        raise ProbeFailed("NVML", str(error)) from error
    finally:
        pynvml.nvmlShutdown()


def _device(nvml: ModuleType, index: int, shared_bytes: int) -> Accelerator:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    name = nvml.nvmlDeviceGetName(handle)
    try:
        total = int(nvml.nvmlDeviceGetMemoryInfo(handle).total)
    except nvml.NVMLError_NotSupported:  # GB10 and Jetson, whose memory is the processor's
        total = shared_bytes
    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
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
