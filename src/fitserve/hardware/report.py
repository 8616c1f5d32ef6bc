"""What a machine is and how fast it was: values of a report that may be shared. No serial number, UUID, host name, user
name, path or process id has a place here. None is unknown, never zero."""

from dataclasses import dataclass

from fitserve.foundation.reasons import Reason

WDDM = "wddm"


@dataclass(frozen=True, slots=True, kw_only=True)
class PcieLink:
    """Generation and lanes: as they are now (an idle GPU lowers the generation), and the most that GPU and slot allow."""

    generation_now: int | None = None
    width_now: int | None = None
    generation_max: int | None = None
    width_max: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuProcess:
    """A program that holds memory of a GPU; `name` is one of a short list of well-known programs, else `other`."""

    name: str
    kind: str
    used_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuReading:
    """One GPU, or one MIG instance of one (`part_of` is then the GPU's index), as its driver describes it.

    `catalogue_id`: the catalogue row of its name. `fault`: why nothing more could be read (`lost`, `no_permission`,
    `driver`, `not_answering`). `throttle`: what holds the clocks down, idle left out; `throttle_loaded`: while matrices
    were multiplied. Clocks in MHz, power in watts, temperature in degrees Celsius.
    """

    index: int
    vendor: str
    name: str | None = None
    catalogue_id: str | None = None
    memory_bytes: int | None = None
    used_bytes: int | None = None
    free_bytes: int | None = None
    is_unified: bool = False
    memory_is_read: bool = True
    compute_capability: str | None = None
    gfx: str | None = None
    driver: str | None = None
    driver_model: str | None = None
    pcie: PcieLink | None = None
    nvlinks_up: int | None = None
    nvlinks_down: int | None = None
    nvlink_version: int | None = None
    clock_mhz: int | None = None
    clock_max_mhz: int | None = None
    memory_clock_mhz: int | None = None
    memory_clock_max_mhz: int | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    power_limit_default_w: float | None = None
    temperature_c: int | None = None
    throttle: tuple[str, ...] | None = None
    throttle_loaded: tuple[str, ...] | None = None
    ecc: bool | None = None
    ecc_errors: int | None = None
    mig: bool | None = None
    persistence: bool | None = None
    processes: tuple[GpuProcess, ...] | None = None
    part_of: int | None = None
    fault: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuPair:
    """Two GPUs by index. `path`: nvlink, nvswitch, board, switch, switches, host_bridge, node, system or unknown."""

    first: int
    second: int
    path: str
    nvlinks: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuReading:
    """The processor. `usable_cpus`: logical processors that this process may use (affinity, container), as a fraction."""

    name: str | None = None
    architecture: str | None = None
    sockets: int | None = None
    cores: int | None = None
    threads: int | None = None
    usable_cpus: float | None = None
    isa: tuple[str, ...] = ()
    l1d_bytes: int | None = None
    l2_bytes: int | None = None
    l3_bytes: int | None = None
    numa_nodes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RamReading:
    """Memory of the machine, and the limit of a container. Modules only where the firmware may be read (root, Windows).

    `peak_bytes_per_s`: width of the filled channels times their transfers, both read.
    """

    total_bytes: int | None = None
    available_bytes: int | None = None
    limit_bytes: int | None = None
    swap_bytes: int | None = None
    shared_bytes: int | None = None
    modules: int | None = None
    channels: int | None = None
    kind: str | None = None
    mt_per_s: int | None = None
    peak_bytes_per_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskReading:
    """Where models are kept. `kind`: nvme, ssd, hdd, virtual, network, memory or unknown."""

    total_bytes: int | None = None
    free_bytes: int | None = None
    kind: str = "unknown"
    file_system: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemReading:
    """Operating system and what runs programs on it. `container`: docker, podman, kubernetes, lxc, other or None."""

    os: str
    name: str | None = None
    kernel: str | None = None
    architecture: str | None = None
    wsl: int | None = None
    container: str | None = None
    is_virtual: bool | None = None
    nvidia_driver: str | None = None
    cuda_version: str | None = None
    rocm_version: str | None = None
    docker: str | None = None
    docker_answers: bool | None = None
    nvidia_container_toolkit: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFound:
    """An engine that is installed here."""

    engine: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """One measured rate. `what`: ram_read, ram_copy, cpu_matrix, disk_read, gpu_memory, gpu_matrix, host_to_device,
    device_to_host or gpu_to_gpu. `per_s`: bytes, of matrices floating-point operations (int8: operations) a second.
    `gpu`, `peer`: indices. `method`: the code of a text that says what was done."""

    what: str
    per_s: float
    method: str
    gpu: int | None = None
    peer: int | None = None
    dtype: str | None = None

    @property
    def is_matrix(self) -> bool:
        """Whether it counts operations, not bytes."""
        return self.what in {"cpu_matrix", "gpu_matrix"}


@dataclass(frozen=True, slots=True, kw_only=True)
class HardwareReport:
    """Everything that was found, with what went wrong on the way as `notes`. `seconds`: how long it took."""

    taken: str
    seconds: float
    system: SystemReading
    cpu: CpuReading
    ram: RamReading
    disk: DiskReading
    gpus: tuple[GpuReading, ...] = ()
    pairs: tuple[GpuPair, ...] = ()
    engines: tuple[EngineFound, ...] = ()
    rates: tuple[Rate, ...] = ()
    notes: tuple[Reason, ...] = ()

    def gpu(self, index: int | None) -> GpuReading | None:
        """The GPU (no MIG instance) of an index."""
        return next((gpu for gpu in self.gpus if gpu.index == index and gpu.part_of is None), None)
