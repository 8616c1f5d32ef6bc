"""What a speed prediction says."""

from dataclasses import dataclass

from fitserve.foundation.intervals import Basis, Interval
from fitserve.foundation.reasons import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What users ask of a server: tokens of one request, and requests at once or arrivals a second (None: not that way)."""

    prompt_tokens: int
    output_tokens: int
    concurrent_requests: int | None = None
    rate_per_s: float | None = None
    request_count: int | None = None
    """Length of the run; None: long enough that its start does not count."""
    draft_acceptance: float | None = None
    """Chance that a token drafted by speculative decoding is accepted; None: not stated."""
    has_equal_lengths: bool = False
    """Every request has just these lengths, as load tests make them: users who began together end together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """Speed of a deployment under a load. `output_tok_per_s` is the sum over users, `inter_token_s` one user's gap.

    Percentiles by name (`p50`, `p90`, `p99`) where they were simulated. `reasons`: what the figures rest on that a user
    should know (a GPU without measurements, queueing).
    """

    ttft_s: Interval
    inter_token_s: Interval
    output_tok_per_s: Interval
    prefill_tok_per_s: Interval | None = None
    ttft_percentiles_s: tuple[tuple[str, Interval], ...] = ()
    inter_token_percentiles_s: tuple[tuple[str, Interval], ...] = ()
    basis: tuple[Basis, ...] = ()
    reasons: tuple[Reason, ...] = ()
    is_queued: bool = False
    """Whether some requests wait for others to end: they are not being served, however fast those are that are."""

    @property
    def per_user_tok_per_s(self) -> Interval:
        """The rate that one user sees."""
        gap = self.inter_token_s
        return Interval(1 / gap.high, 1 / gap.likely, 1 / gap.low)
