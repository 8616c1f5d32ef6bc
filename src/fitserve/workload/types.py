"""A workload: how long the requests are and how many run at once."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """`context_tokens` is prompt and output of one request; `use` names the purpose (chat, coding, agent, rag, batch)."""

    context_tokens: int
    concurrent_requests: int = 1
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    rate_per_s: float | None = None
    """Requests that arrive a second, instead of a number of users."""
    use: str = "chat"
    draft_acceptance: float | None = None
    """Chance that a drafted token is accepted, where the user states it."""
    prompt_sigma: float = 0.0
    """How prompts differ in length: the standard deviation of the logarithm."""
    output_sigma: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """What a user wants at least; None: no wish. Seconds, and tokens a second that one user sees."""

    ttft_s: float | None = None
    inter_token_s: float | None = None
    min_tok_per_s: float | None = None


NO_TARGETS = Targets()
