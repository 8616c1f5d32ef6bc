"""Is it the server, or this client? A server of known times in a process of its own tells, under the same load."""

import asyncio
import math
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from fitserve.bench.client import Target
from fitserve.bench.figures import Figures, Targets, figures
from fitserve.bench.load import Watch, drive
from fitserve.bench.records import Prompt
from fitserve.bench.server import ask
from fitserve.bench.types import Calibration, Level, LoadResult, tolerance_of
from fitserve.bench.wire import Wire
from fitserve.foundation.errors import BenchFailed

_LENGTH_S: Final = 1.5
_LONGEST_FIRST_S: Final = 0.5
_LONGEST_GAP_S: Final = 0.1
_SHORTEST_S: Final = 0.001
_FEWEST_TOKENS: Final = 8
_MOST_TOKENS: Final = 256
_FIRST_TOKENS: Final = 16
"""As many are averaged over, where few streams leave the time for several rounds."""
_SLACK_S: Final = 30.0
_MS: Final = 1000.0
_LEAST_MS: Final = 0.2
"""What the loopback and a system call take; nobody asks for less."""
_LOST_SHARE: Final = 0.10
"""Of the rate: the ends of the streams and the start of the load take a few percent of so short a run by themselves."""


@contextmanager
def mock_server() -> Iterator[str]:
    """The address of a mock server that lives as long as the context."""
    command = [sys.executable, "-m", "fitserve.bench.mock"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603 - our own module
    assert process.stdin is not None and process.stdout is not None
    try:
        port = process.stdout.readline().strip()
        if not port.isdigit():
            raise BenchFailed.of("bench_no_mock", detail=str(process.poll()))
        yield f"http://127.0.0.1:{int(port)}"
    finally:
        process.stdin.close()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


async def calibrate(base: str, streams: int, ttft_s: float, itl_s: float) -> Calibration:
    """Drives the mock at `base` with this many streams and these times, and says what the client makes of them."""
    first = min(max(ttft_s, _SHORTEST_S), _LONGEST_FIRST_S)
    gap = min(max(itl_s, _SHORTEST_S), _LONGEST_GAP_S)
    rounds = max(1, min(math.ceil(_FIRST_TOKENS / streams), int(_LENGTH_S / (first + gap * _FEWEST_TOKENS))))
    tokens = max(_FEWEST_TOKENS, min(_MOST_TOKENS, int((_LENGTH_S / rounds - first) / gap)))
    wire = Wire(base)
    try:
        await _drive(wire, streams, first, gap, 1, 1)  # opens the connections
        await ask(wire, "GET", "/stats")  # begins the counts anew
        seen = await _drive(wire, streams, first, gap, tokens, rounds)
        _, counts = await ask(wire, "GET", "/stats")
    finally:
        await wire.aclose()
    return _calibration(streams, first, gap, tokens, rounds, seen, counts or {})


async def _drive(wire: Wire, streams: int, first_s: float, gap_s: float, tokens: int, rounds: int) -> Figures:
    longest = first_s + gap_s * tokens + _SLACK_S
    target = Target(
        endpoint="completions", model="mock", timeout_s=longest, extra={"mock": {"ttft_s": first_s, "itl_s": gap_s}}
    )
    prompt = Prompt(text="a", tokens=1, output_tokens=tokens)
    loaded = await drive(wire, target, [prompt] * (streams * rounds), Level(concurrency=streams), 1.0, 0, Watch())
    return figures(loaded.records, loaded.duration_s, Targets())


def _calibration(
    streams: int, first_s: float, gap_s: float, tokens: int, rounds: int, seen: Figures, counts: dict[str, Any]
) -> Calibration:
    """`rounds` times `tokens` of each stream were asked for."""
    first_late, last_late = (float(counts.get(f"{name}_late_s", 0.0)) for name in ("first", "last"))
    kept_first, kept_gap = first_s + first_late, gap_s + (last_late - first_late) / (tokens - 1)
    due_s = rounds * (kept_first + kept_gap * (tokens - 1))
    arrived = seen.total_output_tokens / (streams * tokens * rounds)
    return Calibration(
        streams=streams,
        kept_ttft_ms=kept_first * _MS,
        kept_itl_ms=kept_gap * _MS,
        seen_ttft_ms=seen.ttft_ms.mean if seen.ttft_ms else float("inf"),
        seen_itl_ms=seen.itl_ms.mean if seen.itl_ms else float("inf"),
        lost_share=max(0.0, 1 - arrived * min(1.0, due_s / max(seen.duration_s, due_s))),
        tolerance=tolerance_of(streams),
    )


def is_limited(found: Calibration | None, measured: Figures, loop_late_ms: float, streams: int) -> bool:
    """Whether what the client adds is more of the measured times than the tolerance allows.

    It is counted against what was measured of the server, not against the times of the mock, which are cut to a second
    or two. A client whose own timer was late during the load did not see the answers in time either.
    """
    if measured.ttft_ms is not None and _is_much(loop_late_ms, measured.ttft_ms.mean, tolerance_of(streams)):
        return True
    if found is None:
        return False
    limits = (
        (found.excess_ttft_ms, measured.ttft_ms),
        (found.excess_itl_ms, measured.itl_ms),
    )
    added = any(seen is not None and _is_much(excess, seen.mean, found.tolerance) for excess, seen in limits)
    return added or found.lost_share > _LOST_SHARE


def _is_much(excess_ms: float, measured_ms: float, tolerance: float) -> bool:
    """Whether the client's part is more than the tolerance of what is left without it."""
    return excess_ms > max(_LEAST_MS, tolerance * max(0.0, measured_ms - excess_ms))


def streams_of(run: LoadResult) -> int:
    """How many answers came at once: as many as were asked for, or the most that arrivals led to."""
    found = run.level.concurrency if run.level.rate_per_s is None else run.figures.peak_concurrent_requests
    return max(1, found or 1)


async def calibration_of(base: str, run: LoadResult) -> Calibration | None:
    """Calibration at the load that a run turned out to have; None where nothing came back."""
    seen = run.figures
    if seen.ttft_ms is None:
        return None
    gap_ms = seen.itl_ms.mean if seen.itl_ms is not None else _LONGEST_GAP_S * _MS
    return await calibrate(base, streams_of(run), seen.ttft_ms.p50 / _MS, gap_ms / _MS)


def run_calibration(streams: int, ttft_s: float, itl_s: float) -> Calibration:
    """As `calibrate`, with a mock of its own."""
    with mock_server() as base:
        return asyncio.run(calibrate(base, streams, ttft_s, itl_s))
