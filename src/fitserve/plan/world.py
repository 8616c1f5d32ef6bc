"""What the use case needs from outside: somebody who reads models, and somebody who looks at this machine."""

from collections.abc import Callable
from dataclasses import dataclass

from fitserve.foundation.reasons import Reason
from fitserve.hardware.report_file import ReportedMachine
from fitserve.hardware.types import Machine
from fitserve.models.types import LanguageModel
from fitserve.predict.correction import Measured


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRead:
    """A model, a weight format when the name states one, and what was assumed."""

    model: LanguageModel
    weight_format: str | None = None
    repository: str | None = None
    """What the engine is to load, when it is not the model's own id: a fine-tune, a quantized copy."""
    is_file: bool = False
    """Read from a file or folder: its format is what it is."""
    notes: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Built by an interface (command line, API); everything between foundation and plan stays free of I/O."""

    read_model: Callable[[str], ModelRead]
    this_machine: Callable[[], Machine]
    read_hardware: Callable[[str], ReportedMachine] | None = None
    """The machine of a report file; None where no file may be read."""
    installed_version: Callable[[str], str | None] | None = None
    """Version of an engine that is installed on this machine, by the engine's id; None when it is not."""
    measured: Callable[[], tuple[Measured, ...]] | None = None
    """Load tests on this machine beside what was predicted for them; None where nobody keeps any."""
