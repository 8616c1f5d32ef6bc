"""The requests of a simulated run: how long they are and when they are sent. The same seed gives the same requests."""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, cycle, islice
from math import ceil, floor, log
from random import Random
from typing import Protocol, Self

from fitserve.predict.types import Load


class Lengths(Protocol):
    """How many tokens prompts or outputs have."""

    def draw(self, count: int, chance: Random) -> "array[int]":
        """`count` lengths in tokens, each at least 1."""
        ...


@dataclass(frozen=True, slots=True)
class Fixed:
    """Every request has the same length."""

    tokens: int

    def draw(self, count: int, chance: Random) -> "array[int]":
        """`count` times the same length."""
        return array("q", [max(self.tokens, 1)]) * count


@dataclass(frozen=True, slots=True)
class Uniform:
    """Every whole number from `low_tokens` to `high_tokens` (both included) is as likely as any other."""

    low_tokens: int
    high_tokens: int

    @classmethod
    def below(cls, tokens: int, ratio: float) -> Self:
        """From `ratio` of the length up to the length, as the InferenceX runs draw them (ratio 0.8)."""
        return cls(int(tokens * ratio), tokens)

    @classmethod
    def around(cls, tokens: int, range_ratio: float) -> Self:
        """From 1 - ratio to 1 + ratio of the length, as `vllm bench serve --random-range-ratio` draws them."""
        return cls(floor(tokens * (1 - range_ratio)), ceil(tokens * (1 + range_ratio)))

    def draw(self, count: int, chance: Random) -> "array[int]":
        """`count` independent lengths."""
        low = max(self.low_tokens, 1)
        span, draw = max(self.high_tokens - low + 1, 1), chance.random
        return array("q", [low + int(span * draw()) for _ in range(count)])


@dataclass(frozen=True, slots=True)
class Lognormal:
    """Many short requests and a few long ones, as in logs of conversations; `sigma` is that of the logarithm."""

    mean_tokens: float
    sigma: float
    most_tokens: int | None = None

    def draw(self, count: int, chance: Random) -> "array[int]":
        """`count` independent lengths, cut at `most_tokens` where that is given."""
        middle = log(self.mean_tokens) - self.sigma**2 / 2
        most = self.most_tokens or 1 << 62
        draw, sigma = chance.lognormvariate, self.sigma
        return array("q", [min(max(round(draw(middle, sigma)), 1), most) for _ in range(count)])


@dataclass(frozen=True, slots=True)
class Listed:
    """Given lengths in their order, from the start again when they are used up."""

    tokens: tuple[int, ...]

    def draw(self, count: int, chance: Random) -> "array[int]":
        """The first `count` lengths of the endless list."""
        return array("q", (max(tokens, 1) for tokens in islice(cycle(self.tokens), count)))


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """A fixed number of users: all send at the start, and each sends the next when its answer is complete."""

    concurrent_requests: int


@dataclass(frozen=True, slots=True)
class Poisson:
    """Independent arrivals. `burstiness` is the shape of the gaps' gamma distribution: 1 is Poisson, less is burstier."""

    rate_per_s: float
    burstiness: float = 1.0


@dataclass(frozen=True, slots=True)
class Bursts:
    """Groups of requests sent at one moment, `every_s` apart; without a group's count all at the start (rate inf)."""

    requests: int | None = None
    every_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Timed:
    """Given times of sending, in order."""

    times_s: tuple[float, ...]


Arrivals = ClosedLoop | Poisson | Bursts | Timed


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """A run of requests.

    `reused_share` of every prompt is found in a warm prefix cache (a user's own history): it is not computed again but
    still stored for the request. `shared_prefix_tokens` stand before all prompts, in addition to their lengths, and are
    the same (a system prompt): not computed again, and stored once for all.
    """

    prompt: Lengths
    output: Lengths
    arrivals: Arrivals
    request_count: int
    seed: int = 0
    reused_share: float = 0.0
    shared_prefix_tokens: int = 0

    def __post_init__(self) -> None:
        if self.request_count < 1:
            raise ValueError("a run has at least one request")
        if not 0 <= self.reused_share <= 1:
            raise ValueError("a share is between 0 and 1")
        if isinstance(self.arrivals, Timed) and len(self.arrivals.times_s) < self.request_count:
            raise ValueError("every request needs a time")
        if isinstance(self.arrivals, ClosedLoop) and self.arrivals.concurrent_requests < 1:
            raise ValueError("a closed loop has at least one user")
        if isinstance(self.arrivals, Poisson) and min(self.arrivals.rate_per_s, self.arrivals.burstiness) <= 0:
            raise ValueError("a rate is above zero")

    def prompt_tokens(self) -> "array[int]":
        """Tokens of each prompt with the shared prefix, in the order of sending."""
        own = self.prompt.draw(self.request_count, _chance(self.seed, "prompt"))
        common = self.shared_prefix_tokens
        return array("q", (tokens + common for tokens in own)) if common else own

    def output_tokens(self) -> "array[int]":
        """Tokens of each output, in the order of sending."""
        return self.output.draw(self.request_count, _chance(self.seed, "output"))

    def reused_tokens(self, prompts: "array[int]", block_tokens: int) -> "array[int]":
        """Tokens of each prompt found in the cache, in whole blocks; the last token is always computed."""
        share, block, common = self.reused_share, block_tokens, self.shared_prefix_tokens
        if not share and not common:
            return array("q", bytes(8 * len(prompts)))
        return array("q", (min(max(int(p * share), common), p - 1) // block * block for p in prompts))

    def sent_s(self) -> "array[float]":
        """When each request is sent; zeros in a closed loop, where it depends on the run."""
        count, arrivals = self.request_count, self.arrivals
        if isinstance(arrivals, ClosedLoop):
            return array("d", bytes(8 * count))
        if isinstance(arrivals, Poisson):
            return array("d", _poisson_s(arrivals, count, _chance(self.seed, "arrivals")))
        if isinstance(arrivals, Bursts):
            group = arrivals.requests or count
            return array("d", (i // group * arrivals.every_s for i in range(count)))
        return array("d", arrivals.times_s[:count])


def _chance(seed: int, what: str) -> Random:
    """A stream of its own for each quantity, so that one distribution does not shift another's numbers."""
    return Random(f"{seed}/{what}")  # noqa: S311 - a simulation, no secret


def _poisson_s(arrivals: Poisson, count: int, chance: Random) -> Sequence[float]:
    """Times of sending. The gaps of a seed are those of rate 1, scaled: runs at two rates can be compared."""
    shape, mean = arrivals.burstiness, 1 / arrivals.rate_per_s
    if shape == 1:
        draw = chance.expovariate
        return list(accumulate(draw(1.0) * mean for _ in range(count)))
    return list(accumulate(chance.gammavariate(shape, mean / shape) for _ in range(count)))


def traffic_of(load: Load, *, default_count: int, seed: int = 0) -> Traffic:
    """Requests of fixed length as a load says; `default_count` where the load names no length of the run.

    Without a rate and without concurrent requests one request runs at a time.
    """
    return Traffic(
        prompt=Fixed(load.prompt_tokens),
        output=Fixed(load.output_tokens),
        arrivals=Poisson(load.rate_per_s) if load.rate_per_s else ClosedLoop(load.concurrent_requests or 1),
        request_count=load.request_count or default_count,
        seed=seed,
    )
