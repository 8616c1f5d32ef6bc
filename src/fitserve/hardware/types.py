"""Values that describe a machine. Memory in bytes, rates per second, one direction."""

from dataclasses import dataclass

from fitserve.foundation.units import GIB, MIB
from fitserve.hardware.processors import Processor


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """One device as the engine sees it. `memory_bytes` is what the driver shows; unified memory is the machine's RAM."""

    id: str
    vendor: str
    name: str
    memory_bytes: int
    is_unified: bool = False
    compute_capability: str | None = None
    gfx: str | None = None
    metal_family: str | None = None
    bandwidth_bytes_per_s: int | None = None
    is_recalled: bool = False
    """Memory size was recalled or nominal, not read from a driver."""
    visible_bytes: int | None = None
    """Total that an engine itself saw on this device, when it was measured."""

    @property
    def capability_number(self) -> int | None:
        """Compute capability as vLLM counts it: 75 is 7.5; None when the vendor has none."""
        if self.compute_capability is None:
            return None
        major, minor = self.compute_capability.split(".")
        return int(major) * 10 + int(minor)

    @property
    def engine_visible_bytes(self) -> int:
        """What a GPU engine sees: the driver keeps part of the memory, Metal limits the share of unified memory.

        CUDA: 0.25 GiB + 0.3 % less than the driver's total. Totals that engines logged: H100 79.65 -> 79.19 GiB,
        RTX 6000 Ada 47.99 -> 47.37, 24 GB cards 23.99 -> 23.58 to 23.69, 16 GB cards 16.00 -> 15.77 (evidence
        vllm_memory total_memory_gib); within 0.6 % of each. Metal: recommendedMaxWorkingSetSize as llama.cpp logs it,
        two thirds up to 32 GiB, three quarters above.
        """
        if self.visible_bytes is not None:
            return self.visible_bytes
        if self.vendor == "apple":
            return self.memory_bytes * 2 // 3 if self.memory_bytes <= 32 * GIB else self.memory_bytes * 3 // 4
        if self.is_unified:
            return self.memory_bytes
        return max(0, self.memory_bytes - self.memory_bytes * 3 // 1000 - 256 * MIB)


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """The rest of the machine. `ram_bytes` None is unknown, not zero."""

    os: str = "linux"
    ram_bytes: int | None = None
    cpu_name: str | None = None
    processor: Processor | None = None
    """Its rates as measured, for one that the table does not name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Accelerators in device order, and the host; no accelerators means CPU only."""

    devices: tuple[Accelerator, ...]
    host: Host

    @property
    def counts(self) -> tuple[tuple[str, int], ...]:
        """(id, count) pairs in order of first appearance."""
        seen: dict[str, int] = {}
        for device in self.devices:
            seen[device.id] = seen.get(device.id, 0) + 1
        return tuple(seen.items())

    @property
    def is_cpu_only(self) -> bool:
        """No accelerator at all."""
        return not self.devices
