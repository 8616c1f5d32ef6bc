"""How an engine forms its steps, and how long a step takes: what the simulation of serving stands on."""

from dataclasses import dataclass
from math import sqrt
from typing import Protocol


class StepTimes(Protocol):
    """Seconds of one engine step.

    Where several prompts make up a chunk, `past_tokens` is that of one prompt of the same work: `past_tokens` + half of
    the chunk is the number of tokens that a token of the chunk sees in the mean. It is then a fraction, and negative
    for prompts shorter than the chunk.
    """

    def decode_s(self, batch: float, context_tokens: float, /) -> float:
        """One token for each of `batch` sequences that hold `context_tokens` in sum, the tokens being fed included."""
        ...

    def prefill_s(self, chunk_tokens: float, past_tokens: float, /) -> float:
        """A chunk of a prompt with `past_tokens` of it in the cache, and nothing else."""
        ...

    def mixed_s(self, batch: float, context_tokens: float, chunk_tokens: float, past_tokens: float, /) -> float:
        """A decode of `batch` sequences and a chunk, in one step."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduling:
    """The policy of an engine and the room it has.

    - `max_num_seqs`: sequences admitted at once (llama.cpp: slots); `max_batched_tokens`: tokens of one step.
    - `kv_tokens`: capacity of the KV cache, None: no limit; it is handed out in blocks of `block_tokens`.
    - `mixes_decode`: decodes and prefill share a step, decodes first (vLLM V1, llama.cpp, TensorRT-LLM with chunks).
      Without it a step that prefills decodes nothing, and prefill goes first (vLLM V0, TGI, SGLang as it comes).
    - `splits_prompts`: a prompt may be spread over steps (chunked prefill). Without it a prompt goes whole; one that is
      longer than the tokens of a step goes as the step's first.
    - `reserves_output`: a request is admitted with room for all of its output, so nothing is ever preempted. Otherwise
      room is taken as it grows, and when none is left the youngest request loses its cache and is computed again.
    - `watermark_share`: share of the blocks that admission leaves free (vLLM V0).
    - `ubatch_tokens`: tokens that the device computes at once; a larger step is several in a row (llama.cpp).
    - `max_request_tokens`: longest prompt and output together; longer requests are rejected.
    - `dispatch_s`: from sending until the scheduler can see the request (HTTP, tokenizer, process hop).
    """

    max_num_seqs: int
    max_batched_tokens: int
    kv_tokens: int | None = None
    block_tokens: int = 1
    mixes_decode: bool = True
    splits_prompts: bool = True
    reserves_output: bool = False
    watermark_share: float = 0.0
    ubatch_tokens: int | None = None
    max_request_tokens: int | None = None
    dispatch_s: float = 0.0

    def __post_init__(self) -> None:
        if min(self.max_num_seqs, self.block_tokens, self.ubatch_tokens or 1) < 1:
            raise ValueError("sequences, blocks and batches have at least one element")
        if self.max_batched_tokens < self.max_num_seqs:
            raise ValueError("a step needs room for one token of every sequence")


def slots(count: int, *, context_tokens: int, batch_tokens: int, ubatch_tokens: int) -> Scheduling:
    """llama-server: `count` slots with `context_tokens` each, a step of at most `batch_tokens`, computed by ubatch."""
    return Scheduling(
        max_num_seqs=count,
        max_batched_tokens=max(batch_tokens, count),
        ubatch_tokens=ubatch_tokens,
        max_request_tokens=context_tokens,
        reserves_output=True,
    )


def steps_until(until_s: float, first_s: float, slope_s: float, most: int) -> int:
    """The fewest steps that reach a time, where each takes `slope_s` longer than the one before."""
    level = first_s - slope_s / 2
    root = sqrt(max(level * level + 2 * slope_s * until_s, 0.0))
    steps = min(max(int(2 * until_s / (level + root)), 1), most) if level + root > 0 else 1
    while steps < most and steps * (first_s + slope_s * (steps - 1) / 2) < until_s:
        steps += 1
    while steps > 1 and (steps - 1) * (first_s + slope_s * (steps - 2) / 2) >= until_s:
        steps -= 1
    return steps
