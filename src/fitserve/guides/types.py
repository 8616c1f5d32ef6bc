"""The parts of a guide, as values: what `build` computes and `render` writes."""

from dataclasses import dataclass
from decimal import Decimal

from fitserve.engines.contract import LaunchCommand
from fitserve.foundation.intervals import Interval
from fitserve.foundation.reasons import Parameter, Reason, Source
from fitserve.hardware.types import Accelerator, Machine
from fitserve.predict.cost import HourlyPrice
from fitserve.predict.prices import Rate
from fitserve.search.evaluate import Evaluated
from fitserve.workload.types import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Rating:
    """How fast a device computes in a number format. `state`: native, absent, or unknown; `need` is what has it."""

    name: str
    state: str
    flop_per_s: float | None = None
    have: str | None = None
    need: str | None = None
    source: Source | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FormatState:
    """Whether an engine runs a weight format on a device: runs, stored (no arithmetic in it), no, or unknown."""

    format: str
    state: str
    reason: Reason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSupport:
    """An engine on a device. `version` is the newest release that runs on it, None when none does."""

    engine: str
    newest: str
    version: str | None
    formats: tuple[FormatState, ...] = ()
    reason: Reason | None = None
    """Why the newest release does not run, or what to know of it."""

    def state_of(self, weight_format: str) -> str:
        """State of a format."""
        return next((item.state for item in self.formats if item.format == weight_format), "no")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceProfile:
    """One kind of device: how many, what it computes in, what engines do on it."""

    device: Accelerator
    count: int
    ratings: tuple[Rating, ...]
    support: tuple[EngineSupport, ...]
    link_name: str | None
    link_bytes_per_s: float | None
    bridge_bytes_per_s: float | None
    """Rate over an NVLink bridge, which is sold apart."""
    tdp_w: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FitRow:
    """A model in a format on some devices. `file_bytes` None: unknown. `lack_bytes`: what is missing where it does not fit."""

    item: Evaluated
    file_bytes: float | None
    lack_bytes: int | None = None
    context_tokens: int | None = None
    """The longest context of one request; None where it does not fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitTable:
    """What fits on some devices, and how many weights each format allows there."""

    machine: Machine
    rows: tuple[FitRow, ...]
    limits: tuple["SizeLimit", ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeLimit:
    """The largest model that a format allows: by its bits per weight, with the cache of one request of a reference model."""

    format: str
    bits_per_weight: float
    usable_bytes: int
    other_bytes: int
    params: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """A recommended set-up. `place`: percentile among the ranked models of the purpose; None: not ranked."""

    purpose: str
    item: Evaluated
    context_tokens: int
    place: Interval | None
    ranked: int
    least_tok_per_s: float | None
    file_bytes: float | None
    next_models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRow:
    """One engine with the model of the comparison: its best plan or why there is none; `crowd` is the same with more users."""

    engine: str
    version: str
    item: Evaluated | None
    crowd: Evaluated | None = None
    reason: Reason | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Memory of a number of users at a context: their cache and everything together."""

    context_tokens: int
    users: int
    kv_bytes: int
    total_bytes: int
    fits: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Context and users against memory for one set-up."""

    item: Evaluated
    contexts: tuple[int, ...]
    users: tuple[int, ...]
    cells: tuple[Cell, ...]
    limit_bytes: int

    def cell(self, context_tokens: int, users: int) -> Cell:
        """The cell of a context and a number of users."""
        return next(c for c in self.cells if c.context_tokens == context_tokens and c.users == users)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """An option or environment variable that matters here. `where`: the engine and version whose list has it, or None."""

    name: str
    value: str
    code: str
    parameters: tuple[tuple[str, Parameter], ...]
    engine: str | None
    version: str | None
    source: Source


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitPart:
    """What one device holds of a model cut by layers."""

    device: int
    gpu: str
    first_layer: int
    last_layer: int
    weights_bytes: int
    used_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitGuide:
    """Layers by device, and which tensor-parallel sizes the model allows (None: no GPU engine runs it here)."""

    item: Evaluated
    parts: tuple[SplitPart, ...]
    tensor_split: str
    device_map: tuple[tuple[str, int], ...]
    tp: tuple[tuple[int, Reason | None], ...]
    hop_bytes: int
    """What passes from one device to the next for a token, cut by layers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One step of the check list: a command and what it should show."""

    code: str
    command: str
    parameters: tuple[tuple[str, Parameter], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningCost:
    """Electricity at the power limits, and rent of the same hardware. `item` is what makes the tokens."""

    watts: float | None
    item: Evaluated | None
    kwh_per_million: float | None
    usd_per_kwh: Decimal | None
    rent: HourlyPrice | None
    rate: Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A claim that circulates and is wrong here: `code` names its text, `parameters` hold the computed figures."""

    id: str
    code: str
    parameters: tuple[tuple[str, Parameter], ...]
    says: str
    """Text of the claim itself; a code of the table `claim`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandSet:
    """A set-up's command in all its forms."""

    setup: Setup
    command: LaunchCommand
    is_native: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Guide:
    """Everything that a guide says about some hardware."""

    machine: Machine
    workload: Workload
    use: str
    notes: tuple[Reason, ...]
    profiles: tuple[DeviceProfile, ...]
    host_support: tuple[EngineSupport, ...]
    tables: tuple[FitTable, ...]
    setups: tuple[Setup, ...]
    compared: Evaluated | None
    """What the engines are compared with."""
    engines: tuple[EngineRow, ...]
    grid: Grid | None
    commands: tuple[CommandSet, ...]
    settings: tuple[Setting, ...]
    split: SplitGuide | None
    checks: tuple[Check, ...]
    cost: RunningCost
    claims: tuple[Claim, ...]

    @property
    def is_yes(self) -> bool:
        """Whether anything runs."""
        return bool(self.setups)
