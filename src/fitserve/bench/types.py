"""What a benchmark says."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from fitserve.bench.figures import Figures
from fitserve.bench.records import RequestRecord
from fitserve.bench.request import BenchRequest
from fitserve.foundation.reasons import Reason

SAME_WITHIN: Final = 0.02
SAME_WITHIN_CROWDED: Final = 0.10
CROWDED_STREAMS: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One load of a sweep: at most so many requests at once, and arrivals a second (None: as fast as slots allow)."""

    concurrency: int | None
    rate_per_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What this client reports of a server of its own whose times are known.

    Times in milliseconds. `kept` are the times that the server really kept, which it counts itself: on a busy machine
    it is late, too, and no client can win that back. `lost_share` is the part of the chunks that did not arrive in the
    time they should have.
    """

    streams: int
    kept_ttft_ms: float
    kept_itl_ms: float
    seen_ttft_ms: float
    seen_itl_ms: float
    lost_share: float
    tolerance: float

    @property
    def excess_ttft_ms(self) -> float:
        """What the client adds to the time to the first token."""
        return self.seen_ttft_ms - self.kept_ttft_ms

    @property
    def excess_itl_ms(self) -> float:
        """What it adds to a gap."""
        return self.seen_itl_ms - self.kept_itl_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadResult:
    """A level with its figures. `records` are empty where another client ran and kept none."""

    level: Level
    figures: Figures
    records: tuple[RequestRecord, ...] = ()
    calibration: Calibration | None = None
    loop_late_ms: float | None = None
    """How late the client's own timer was on average during the load, beyond what a quiet machine shows."""
    client_limited: bool = False
    prompt_tokens_mean: float | None = None
    output_tokens_mean: float | None = None
    notes: tuple[Reason, ...] = ()
    is_partial: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchResult:
    """A benchmark: its request, what the server said of itself, and the loads in the order asked."""

    request: BenchRequest
    model: str
    endpoint: str
    client: str
    client_version: str
    started: str
    """ISO 8601, UTC."""
    runs: tuple[LoadResult, ...]
    notes: tuple[Reason, ...] = ()
    is_partial: bool = False

    @property
    def client_limited(self) -> bool:
        """Whether any load was too much for the client."""
        return any(run.client_limited for run in self.runs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Where a run is. `phase`: prompts, warm_up, load, calibrate, or client (another program runs)."""

    phase: str
    level: Level | None = None
    level_index: int = 0
    levels: int = 1
    done: int = 0
    failed: int = 0
    total: int = 0
    chunks: int = 0
    elapsed_s: float = 0.0
    text: str = ""


OnProgress = Callable[[Progress], None]


def tolerance_of(streams: int) -> float:
    """How far the client's figures may be from the truth before it says so: 2 % to 64 streams, 10 % above."""
    return SAME_WITHIN if streams <= CROWDED_STREAMS else SAME_WITHIN_CROWDED
