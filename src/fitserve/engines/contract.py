"""What the planner asks of an engine and what it gets back. Engines know nothing of each other."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from fitserve.foundation.intervals import Basis, Interval, add_independent
from fitserve.foundation.reasons import Reason
from fitserve.hardware.types import Accelerator, Machine
from fitserve.models.formats import WeightFormat
from fitserve.models.types import LanguageModel

NO_OPTIONS: Mapping[str, str] = MappingProxyType({})


def no_options() -> Mapping[str, str]:
    """An empty mapping that nobody can change."""
    return NO_OPTIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """A fully chosen candidate. `offload_layers` is the number of layers kept in RAM, None when nothing is offloaded."""

    model: LanguageModel
    machine: Machine
    engine: str
    engine_version: str
    weight_format: WeightFormat
    repository: str | None = None
    """What the engine loads, when it is not the model's own repository."""
    kv_format: str = "auto"
    tp: int = 1
    pp: int = 1
    ep: int = 1
    dp: int = 1
    context_tokens: int
    concurrent_requests: int = 1
    max_num_seqs: int | None = None
    offload_layers: int | None = None
    options: Mapping[str, str] = field(default_factory=no_options)

    @property
    def device_count(self) -> int:
        """Devices that the candidate uses."""
        return self.tp * self.pp * self.dp


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryItem:
    """One use of memory, with the spread of its estimate. `code` is of the closed list in CONTRACT.

    `is_rest`: the engine takes whatever the other items leave of what it may use.
    """

    code: str
    bytes: Interval
    basis: Basis
    is_rest: bool = False

    @property
    def likely_bytes(self) -> int:
        """The figure shown."""
        return round(self.bytes.likely)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceBudget:
    """Memory of one device. `usable_bytes` is the limit that the engine keeps to."""

    device: int
    accelerator: Accelerator
    usable_bytes: int
    items: tuple[MemoryItem, ...]

    @property
    def used_bytes(self) -> int:
        """Sum of the likely figures."""
        return sum(item.likely_bytes for item in self.items)

    def item(self, code: str) -> int:
        """Bytes under a code; zero when the device has no such item."""
        return sum(item.likely_bytes for item in self.items if item.code == code)


@dataclass(frozen=True, slots=True, kw_only=True)
class KvFigures:
    """What the cache holds. `capacity_tokens` counts tokens of requests as long as the context."""

    format: str
    bytes_per_token: int
    bytes_at_context: int
    capacity_tokens: int
    max_context_tokens: int
    max_concurrency: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryBudget:
    """Devices, host, cache figures, and every reason why it does not fit or is tight."""

    devices: tuple[DeviceBudget, ...]
    host_items: tuple[MemoryItem, ...]
    weights_bytes: int
    kv: KvFigures
    max_num_seqs: int
    reasons: tuple[Reason, ...] = ()
    details: Mapping[str, Any] = field(default_factory=no_options)
    """Engine figures that evidence and explanations compare (blocks, groups, buffers by device)."""

    @property
    def host_bytes(self) -> int:
        """RAM in use."""
        return sum(item.likely_bytes for item in self.host_items)

    @property
    def total_bytes(self) -> Interval:
        """Everything on devices and host; item errors are taken as independent."""
        items = [item.bytes for device in self.devices for item in device.items]
        return add_independent([*items, *(item.bytes for item in self.host_items)])


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchFile:
    """A file that a command needs."""

    path: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchCommand:
    """How to start the server: an argument list, never a shell string. `image` is set when a container runs it best."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=no_options)
    files: tuple[LaunchFile, ...] = ()
    image: str | None = None
    """Container image, pinned to the engine's version; None when there is none for this machine."""
    entrypoint: str | None = None
    """Program inside the image, where it is not the first argument."""
    device_vendor: str = "nvidia"
    model_file: str | None = None
    """Argument that is a file of the host, to be mounted into a container."""
    cache_folder: str | None = None
    """Folder inside the image where downloads should survive."""
    port: int = 8000
    needs_token: bool = False
    """The repository is gated: a Hugging Face token must be in the environment."""
    served_name: str | None = None
    """Name of the model in requests to the server; None where the engine takes any name."""
    then: tuple[tuple[str, ...], ...] = ()
    """Steps once the server runs, each an argument list (`ollama create`, `lms load`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A weight format that an engine could try for a model, and the repository that holds it, if one is published."""

    weight_format: WeightFormat
    repository: str | None = None
    needs_quantizing: bool = False
    """No repository of it is known and the engine cannot make it on loading: the user would run a quantization job."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """An engine folder, as the registry sees it."""

    id: str
    package: str
    """Where its data and messages lie."""
    versions: tuple[str, ...]
    """Releases that were read, oldest first; the last one is the default."""
    native_os: tuple[str, ...]
    facts: Mapping[str, Any]
    status: Mapping[str, Any]
    candidates: Callable[[LanguageModel, Machine, str], tuple[Candidate, ...]]
    splits: Callable[[LanguageModel, Machine, str], tuple[tuple[int, int], ...]]
    """Parallel sizes (tp, pp) worth trying on a machine."""
    blockers: Callable[[Deployment], tuple[Reason, ...]]
    budget: Callable[[Deployment], MemoryBudget]
    command: Callable[[Deployment], LaunchCommand]
    kv_formats: Callable[[Deployment], tuple[str, ...]]
    """Cache formats worth trying, `auto` first."""
    log_figures: Callable[[Deployment, MemoryBudget], Mapping[str, Interval]]
    """What the engine's log would print, by the names that measured cases use."""
    given_options: Callable[[Mapping[str, Any]], Mapping[str, str]]
    """Server options of a measured case."""
    outcome: Callable[[MemoryBudget], str]
    """What the start comes to (ok, oom_weights, oom_kv ...)."""
    cache_bytes: Callable[[Deployment, int, str], int]
    """Bytes of the KV cache of a number of sequences; the third argument says cache, recurrent state, or both."""
    known_options: Callable[[str], frozenset[str]]
    parse_version: Callable[[str], str]
    """Normal form of a version; raises InputError when it is none."""
    is_newer: Callable[[str], bool]
    """Whether a version is newer than every one that was read."""
    options_version: Callable[[str], str] | None = None
    """The scanned release whose option list stands for a version; None: the newest scanned one that is not newer."""
    json_keys: Callable[[], Mapping[str, Mapping[str, Any]]] | None = None
    """Keys of JSON options by option: `keys` (name to first and last release, replacement) and `inside` (nested ones)."""
    registries: Callable[[], Mapping[str, Mapping[str, Any]]] | None = None
    """Names that options look up, by list: name to its runs of scanned releases as (first, last)."""
    default_context_tokens: Callable[[Machine], int] | None = None
    """Context of a server that is not told one; None: the model's own limit."""
    makes_on_load: frozenset[str] = frozenset()
    """Formats that the engine quantizes to while it loads the original weights."""
    needs_accelerator: bool = False
    """Has no memory budget on a machine without a GPU."""
    places_layers: bool = False
    """Can keep layers or experts in RAM (`--offload`) and use devices of different sizes."""
