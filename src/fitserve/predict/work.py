"""What one rank has to do for a step: matrices to multiply with their bytes, experts to read, cache to read.

No times here: bytes and operations follow from the shapes alone. A multiply and an add count as two operations.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from fitserve.footprint.gguf_recipes import recipe_tensors
from fitserve.footprint.kv_cache import cache_reach, kv_elements_per_token, state_elements
from fitserve.footprint.weights import Sharding, kept_modules, shard_count, tensor_bytes
from fitserve.foundation.units import ceil_div
from fitserve.models.formats import WeightFormat
from fitserve.models.types import Attention, CompressedAttention, LanguageModel, LatentAttention, Mixer

_EMBEDDING = {"token_embd.weight", "per_layer_token_embd.weight", "position_embd.weight", "token_types.weight"}
_MATRIX = re.compile(r"\.weight$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """A weight matrix of one rank, called once a step in `count` layers.

    `bytes`: of one call, as stored. `rows` x `row_length`: of the rank's share. `experts`: how many experts share the
    bytes, 0 for a dense matrix; `used`: experts that one token takes, out of `of_experts` in all. `is_head`: the output
    layer, which runs for sampled positions only.
    """

    role: str
    bytes: float
    rows: float
    row_length: int
    count: int
    experts: int = 0
    used: int = 0
    of_experts: int = 0
    is_head: bool = False
    is_quantized: bool = False

    def flop(self, tokens: float) -> float:
        """Operations of one call over `tokens` (of an expert matrix: tokens times the experts that each takes)."""
        share = self.experts / self.of_experts if self.of_experts else 1.0
        return 2.0 * tokens * self.rows * self.row_length * (self.used * share if self.experts else 1)

    def read_bytes(self, tokens: float) -> float:
        """Bytes read by one call: the whole matrix, of experts those that some token takes (uniform routing)."""
        if not self.experts:
            return self.bytes
        return self.bytes * touched_share(self.of_experts, self.used, tokens)


def touched_share(count: int, used: int, tokens: float) -> float:
    """Share of the experts that at least one of `tokens` takes, each taking `used` of `count` at random."""
    return float(1.0 - (1.0 - used / count) ** tokens) if count else 1.0


@lru_cache(maxsize=256)
def matrices(
    model: LanguageModel, weight_format: WeightFormat, tp: int = 1, ep: int = 1, layers: range | None = None
) -> tuple[Matrix, ...]:
    """Matrices of one rank of a pipeline stage; embeddings are looked up, not multiplied, and so left out."""
    sharding = Sharding(tp=tp, ep=ep, layers=layers)
    found = [*_gguf(model, weight_format)] if weight_format.family == "gguf" else [*_checkpoint(model, weight_format)]
    made: list[Matrix] = []
    for role, shape, size, indices, is_quantized in found:
        count = len(indices) if layers is None else sum(1 for index in indices if index in layers)
        is_head = role == "output.weight"
        if is_head and layers is not None and layers.stop != len(model.layers):
            continue
        if not (count or is_head):
            continue
        pieces = shard_count(role, model, sharding)
        made.append(_matrix(model, role, shape, size, max(1, count), pieces, ep, is_quantized))
    return tuple(made)


def _matrix(
    model: LanguageModel,
    role: str,
    shape: tuple[int, ...],
    size: float,
    count: int,
    pieces: int,
    ep: int,
    is_quantized: bool,
) -> Matrix:
    if len(shape) < 3:
        return Matrix(
            role=role, bytes=size / pieces, rows=shape[1] / pieces, row_length=shape[0], count=count,
            is_head=role == "output.weight", is_quantized=is_quantized,
        )  # fmt: skip
    moe = next(layer.experts for layer in model.layers if layer.experts is not None)
    local = ceil_div(shape[2], ep) if ep > 1 else shape[2]
    return Matrix(
        role=role, bytes=size / pieces, rows=shape[1] / (1 if ep > 1 else pieces), row_length=shape[0], count=count,
        experts=local, used=moe.used, of_experts=shape[2], is_quantized=is_quantized,
    )  # fmt: skip


_Found = tuple[str, tuple[int, ...], float, tuple[int, ...], bool]


def _gguf(model: LanguageModel, weight_format: WeightFormat) -> Iterator[_Found]:
    """Tensors of a GGUF mix; a tied embedding is multiplied as the output layer too."""
    has_output = False
    for tensor in recipe_tensors(model, weight_format.gguf_mix or ""):
        if len(tensor.shape) < 2 or not _MATRIX.search(tensor.role) or tensor.role in _EMBEDDING:
            if tensor.role == "token_embd.weight":
                embedding = tensor
            continue
        has_output |= tensor.role == "output.weight"
        yield tensor.role, tensor.shape, tensor.bytes_each, tensor.layers, tensor.type not in {"F32", "F16", "BF16"}
    if not has_output:
        is_quantized = embedding.type not in {"F32", "F16", "BF16"}
        yield "output.weight", embedding.shape, embedding.bytes_each, (), is_quantized


def _checkpoint(model: LanguageModel, weight_format: WeightFormat) -> Iterator[_Found]:
    kept = kept_modules(model, weight_format)
    plain = 4 if weight_format.name == "f32" else 2
    group_size = model.checkpoint.group_size if model.checkpoint else None
    has_output = False
    embedding = None
    for group in model.tensors:
        if group.part != "text" or group.role.startswith("gguf:") or not _MATRIX.search(group.role):
            continue
        embedding = group if group.role == "token_embd.weight" else embedding
        if len(group.shape) < 2 or group.role in _EMBEDDING:
            continue
        has_output |= group.role == "output.weight"
        size = tensor_bytes(group, weight_format, plain, kept, group_size)
        yield group.role, group.shape, size, group.layers, size < group.elements_each * plain
    if not has_output and embedding is not None:
        yield "output.weight", embedding.shape, embedding.elements_each * plain, (), False


def read_per_token_bytes(model: LanguageModel, weight_format: WeightFormat) -> float:
    """Weights that a single token of a single stream reads: everything dense, and the experts that it takes."""
    return sum(item.read_bytes(1) * item.count for item in matrices(model, weight_format))


def _mixers(model: LanguageModel, layers: range | None) -> Iterator[Mixer]:
    for index, layer in enumerate(model.layers):
        if layers is None or index in layers:
            yield from layer.mixers


def cache_read_bytes(
    model: LanguageModel, context_tokens: float, element_bytes: float, tp: int = 1, layers: range | None = None
) -> float:
    """Bytes of cache and state that one rank reads to make one token of a sequence that is `context_tokens` long."""
    total = 0.0
    for mixer in _mixers(model, layers):
        reach = cache_reach(mixer)
        seen = context_tokens if reach is None else min(context_tokens, reach)
        if isinstance(mixer, CompressedAttention) and mixer.ratio:
            seen = min(context_tokens, mixer.window_tokens) + context_tokens / mixer.ratio
        if isinstance(mixer, LatentAttention) and mixer.indexer is not None:
            seen = min(context_tokens, mixer.indexer.top_k)
        elements = kv_elements_per_token(mixer)
        if isinstance(mixer, Attention) and elements:
            elements = elements // mixer.kv_heads * ceil_div(mixer.kv_heads, tp)
        total += seen * elements * element_bytes
        state = state_elements(mixer)
        if state is not None:  # read and written once a token
            total += 2 * (state.convolution * 2 + state.recurrent * 4) / tp
    return total


def attention_flop(
    model: LanguageModel, new_tokens: float, past_tokens: float, tp: int = 1, layers: range | None = None
) -> float:
    """Operations of one rank's attention over `new_tokens` after `past_tokens`: scores and values, causal."""
    total = 0.0
    for mixer in _mixers(model, layers):
        if isinstance(mixer, Attention):
            if mixer.crosses_to_vision:
                continue
            reach = cache_reach(mixer)
            pairs = new_tokens * (past_tokens + new_tokens / 2)
            if reach is not None:
                pairs = min(pairs, new_tokens * float(reach))
            total += 2.0 * pairs * (mixer.key_dim + mixer.value_dim) * mixer.query_heads / tp
        elif isinstance(mixer, LatentAttention):
            seen = past_tokens + new_tokens / 2
            if mixer.indexer is not None:
                seen = min(seen, mixer.indexer.top_k)
            width = mixer.nope_dim + mixer.rope_dim + mixer.value_dim
            total += 2.0 * new_tokens * seen * width * mixer.query_heads / tp
        elif isinstance(mixer, CompressedAttention):
            seen = min(past_tokens + new_tokens / 2, float(mixer.window_tokens))
            seen += (past_tokens + new_tokens / 2) / mixer.ratio if mixer.ratio else 0.0
            total += 2.0 * new_tokens * seen * 2 * mixer.head_dim * mixer.query_heads / tp
    return total
