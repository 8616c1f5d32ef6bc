"""A workload: how long the requests are and how many run at once."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """`context_tokens` is prompt and output of one request; `use` names the purpose (chat, coding, agent, rag, batch)."""

    context_tokens: int
    concurrent_requests: int = 1
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    use: str = "chat"
