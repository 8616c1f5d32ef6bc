"""What a question asks, as values; and the answer as blocks that `render` writes out."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from fitserve.engines.contract import LaunchCommand
from fitserve.foundation.reasons import Reason
from fitserve.plan.cost import CostAnswer
from fitserve.predict.prices import DOLLAR, Rate
from fitserve.predict.types import Speed
from fitserve.search.evaluate import Evaluated

KINDS: Final = (
    "fit", "quant", "engine", "context", "users", "speed", "buy", "cost", "finetune", "quantize", "failure", "compare",
    "howto", "whatfits", "unclear",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A GPU that a question names: catalogue id, count, and its memory where the question says it (Apple)."""

    gpu: str
    count: int = 1
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Understood:
    """A question as fields. Tuples hold what was named, in order; None and empty: not said."""

    text: str
    language: str
    kind: str
    models: tuple[str, ...] = ()
    gpus: tuple[Named, ...] = ()
    are_alternatives: bool = False
    """The GPUs are to be chosen among, not parts of one machine."""
    this_machine: bool = False
    memory_bytes: int | None = None
    """Memory of the GPUs together, where it was stated without a GPU."""
    memory_cards: int = 1
    ram_bytes: int | None = None
    engines: tuple[str, ...] = ()
    engine_version: str | None = None
    formats: tuple[str, ...] = ()
    kv_format: str | None = None
    context_tokens: int | None = None
    concurrency: int | None = None
    os: str | None = None
    method: str | None = None
    use: str | None = None
    korean: bool = False
    """The model is to be good at Korean."""
    min_tok_per_s: float | None = None
    usd_per_hour: Decimal | None = None
    budget_usd: Decimal | None = None
    hours: tuple[Decimal, ...] = ()
    currency: str | None = None
    exchange_rate: str | None = None
    premises: tuple[str, ...] = ()
    """Codes of beliefs in the question that may be wrong."""
    errors: tuple[str, ...] = ()
    """Categories of failures whose messages the question quotes."""
    unknown: tuple[str, ...] = ()
    assumed: tuple[Reason, ...] = ()

    @property
    def has_hardware(self) -> bool:
        """Whether any hardware was named."""
        return bool(self.gpus) or self.memory_bytes is not None or self.this_machine


@dataclass(frozen=True, slots=True)
class Say:
    """A paragraph; `strong` is the verdict."""

    reason: Reason
    strong: bool = False


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading by the code of its label."""

    code: str


@dataclass(frozen=True, slots=True)
class Bullets:
    """Sentences as a list."""

    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class PlanTable:
    """Judged deployments as rows; `titles` names each row where the format alone does not tell them apart."""

    items: tuple[Evaluated, ...]
    titles: tuple[str, ...] = ()
    names_model: bool = False
    rate: Rate = DOLLAR


@dataclass(frozen=True, slots=True)
class Memory:
    """Where the memory of a plan goes."""

    item: Evaluated


@dataclass(frozen=True, slots=True)
class Numbers:
    """Speed and cost of a plan in lines."""

    item: Evaluated
    rate: Rate = DOLLAR


@dataclass(frozen=True, slots=True)
class Curve:
    """What users get as they become more."""

    rows: tuple[tuple[int, Speed], ...]


@dataclass(frozen=True, slots=True)
class Against:
    """Rejected candidates with their reasons and nearest fixes."""

    items: tuple[Evaluated, ...]


@dataclass(frozen=True, slots=True)
class Command:
    """How to start a plan and test it."""

    item: Evaluated
    launch: LaunchCommand


@dataclass(frozen=True, slots=True)
class Grid:
    """A table: headings by label code (`>` before figures), cells of text or of (name, value) in human units."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str | tuple[str, float | int], ...], ...]


@dataclass(frozen=True, slots=True)
class Costs:
    """The answer of `cost`."""

    answer: CostAnswer


@dataclass(frozen=True, slots=True)
class Code:
    """Text to copy."""

    text: str
    language: str = "bash"


Block = Say | Heading | Bullets | PlanTable | Memory | Numbers | Curve | Against | Command | Grid | Costs | Code


@dataclass(frozen=True, slots=True, kw_only=True)
class AskAnswer:
    """The answer to a question. `verdict` is None where nothing was judged."""

    understood: Understood
    verdict: str | None
    blocks: tuple[Block, ...]
    plans: tuple[Evaluated, ...] = ()
    follow_up: tuple[str, ...] = ()
    assumed: tuple[Reason, ...] = ()
    rate: Rate = DOLLAR
    use: str = "chat"
    basis: tuple[Reason, ...] = field(default=())

    @property
    def kind(self) -> str:
        """What was asked."""
        return self.understood.kind

    @property
    def is_yes(self) -> bool:
        """Whether the answer is not a no."""
        return self.verdict in {None, "fits"}
