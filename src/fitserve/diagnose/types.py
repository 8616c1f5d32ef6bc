"""What a log holds, as values: rules that read it, what they matched, what follows from it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fitserve.engines.contract import Deployment, LaunchCommand, no_options
from fitserve.foundation.intervals import Interval
from fitserve.foundation.reasons import Reason
from fitserve.plan.world import ModelRead
from fitserve.search.evaluate import Evaluated, Fix

ROOT, GENERAL, CONSEQUENCE, SYMPTOM = 1, 2, 3, 4
"""How near a message is to its cause: it names it, names what it belongs to, follows from another, or is survived."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One row of a table of signatures. `kind` is failure, figure or mark; `name` its category or mark."""

    kind: str
    name: str
    pattern: re.Pattern[str]
    words: tuple[bytes, ...]
    engine: str | None
    """Whose log prints it; None for drivers, libraries and systems."""
    order: int
    tier: int = ROOT
    needs_context: bool = False
    check: str | None = None
    is_wide: bool = False
    """Whether a match may run over the end of a line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A signature found: its first line in a run of the program, what the pattern captured, how often it came."""

    rule: Rule
    run: int
    line: int
    last_line: int
    text: str
    groups: Mapping[str, str] = field(default_factory=no_options)
    count: int = 1


@dataclass(frozen=True, slots=True)
class Seen:
    """A figure or a fact that the log states, with its line."""

    value: str
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """Everything that one pass over a log keeps."""

    matches: tuple[Match, ...]
    figures: Mapping[str, Seen]
    """By the names that measured cases use (`weights_gib`, `model_mib.CUDA0`)."""
    known: Mapping[str, Seen]
    """What the log states of the deployment (`model`, `engine_version`, `tp`)."""
    gpus: Mapping[str, str]
    """Names of devices by their number or name in the log."""
    marks: tuple[tuple[int, int, str], ...]
    """(run, line, mark) of the phases that the program went through."""
    engines: Mapping[str, int]
    """Engines by the number of blocks that hold words of theirs alone."""
    runs: int
    lines: int
    size_bytes: int
    ends: tuple[tuple[int, str], ...]
    """The first and the last lines with their numbers."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A line of the log that a cause rests on."""

    line: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedy:
    """A change that mends a cause. `fix` is one that was judged again; `command` the changed launch command.

    `change` uses flags of this program; `environment` and `container` are settings of the process and of `docker run`.
    """

    code: str
    change: Mapping[str, str | int] = field(default_factory=no_options)
    environment: Mapping[str, str] = field(default_factory=no_options)
    container: tuple[str, ...] = ()
    run: tuple[str, ...] = ()
    """A command to run instead, where the remedy is one."""
    parameters: Mapping[str, Any] = field(default_factory=no_options)
    fix: Fix | None = None
    command: LaunchCommand | None = None
    is_native: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One cause. `confidence` is a share; `phase` is when it happened, where the log tells."""

    code: str
    tier: int
    engine: str | None
    confidence: float
    evidence: tuple[Evidence, ...]
    parameters: Mapping[str, Any] = field(default_factory=no_options)
    phase: str | None = None
    remedies: tuple[Remedy, ...] = ()
    is_inferred: bool = False
    """No line names it: it follows from the engine's own rules for this deployment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """A figure of the log beside the prediction for the same deployment; `unit` is GiB, MiB, tokens or x."""

    code: str
    allocated: float
    predicted: Interval
    unit: str
    line: int
    is_off: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What is known of the deployment, from the user or from the log. `stated` has where each value comes from."""

    engine: str | None = None
    engine_version: str | None = None
    model: str | None = None
    gpus: tuple[str, ...] = ()
    os: str | None = None
    ram_bytes: int | None = None
    fields: Mapping[str, str] = field(default_factory=no_options)
    """Further fields of a request: tp, pp, context, format, kv_format."""
    options: Mapping[str, str] = field(default_factory=no_options)
    origin: Mapping[str, str] = field(default_factory=no_options)
    """`flag` or `log` by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budgeted:
    """The deployment judged, and what stands against it."""

    evaluated: Evaluated
    read: ModelRead | None = None
    instead: Fix | None = None
    """What runs on the same machine, where no change along one knob helps: another format, engine or model."""

    @property
    def deployment(self) -> Deployment:
        """The deployment that the log is of."""
        return self.evaluated.deployment


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Causes by rank; none is an answer too, with the lines that say most."""

    causes: tuple[Cause, ...]
    known: Known
    compared: tuple[Compared, ...] = ()
    wrong_assumption: Reason | None = None
    """The first assumption that does not hold: a figure off the prediction, else what stands against the deployment."""
    budgeted: Budgeted | None = None
    notes: tuple[Reason, ...] = ()
    telling: tuple[Evidence, ...] = ()
    lines: int = 0
    size_bytes: int = 0

    @property
    def is_found(self) -> bool:
        """Whether there is a cause."""
        return bool(self.causes)
