"""What one rank has to do for a step: matrices to multiply with their bytes, experts to read, cache to read.

No times here: bytes and operations follow from the shapes alone. A multiply and an add count as two operations.
"""

import re
from collections import Counter
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


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheRead:
    """What one rank reads of cache and state in `count` like layers to make one token of a sequence.

    `token_bytes` of every token within `reach` (None: all), and of one in `ratio` beyond it; `state_bytes` at any length.
    """

    count: int
    token_bytes: float
    reach: float | None
    ratio: int
    state_bytes: float

    def bytes(self, context_tokens: float) -> float:
        """Bytes of one layer for a sequence that is `context_tokens` long."""
        seen = context_tokens if self.reach is None else min(context_tokens, self.reach)
        if self.ratio:
            seen += context_tokens / self.ratio
        return seen * self.token_bytes + self.state_bytes


@lru_cache(maxsize=256)
def cache_reads(
    model: LanguageModel, element_bytes: float, tp: int = 1, layers: range | None = None
) -> tuple[CacheRead, ...]:
    """Cache reads of one rank by kind of layer."""
    return tuple(
        _cache_read(mixer, count, element_bytes, tp) for mixer, count in Counter(_mixers(model, layers)).items()
    )


def _cache_read(mixer: Mixer, count: int, element_bytes: float, tp: int) -> CacheRead:
    reach = cache_reach(mixer)
    ratio = 0
    if isinstance(mixer, CompressedAttention) and mixer.ratio:
        reach, ratio = mixer.window_tokens, mixer.ratio
    if isinstance(mixer, LatentAttention) and mixer.indexer is not None:
        reach = mixer.indexer.top_k
    elements = kv_elements_per_token(mixer)
    if isinstance(mixer, Attention) and elements:
        elements = elements // mixer.kv_heads * ceil_div(mixer.kv_heads, tp)
    state = state_elements(mixer)
    # read and written once a token
    kept = 0.0 if state is None else 2 * (state.convolution * 2 + state.recurrent * 4) / tp
    return CacheRead(count=count, token_bytes=elements * element_bytes, reach=reach, ratio=ratio, state_bytes=kept)


def cache_read_bytes(
    model: LanguageModel, context_tokens: float, element_bytes: float, tp: int = 1, layers: range | None = None
) -> float:
    """Bytes of cache and state that one rank reads to make one token of a sequence that is `context_tokens` long."""
    return sum(read.bytes(context_tokens) * read.count for read in cache_reads(model, element_bytes, tp, layers))


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionWork:
    """Attention of one rank in `count` like layers: operations of a pair of tokens, and how many pairs a token has."""

    count: int
    pair_flop: float
    reach: float | None
    """Tokens that one token sees at most."""
    ratio: int

    def flop(self, new_tokens: float, past_tokens: float) -> float:
        """Operations of one layer over `new_tokens` after `past_tokens`: scores and values, causal."""
        seen = past_tokens + new_tokens / 2
        near = seen if self.reach is None else min(seen, self.reach)
        if self.ratio:
            near += seen / self.ratio
        return new_tokens * near * self.pair_flop


@lru_cache(maxsize=256)
def attention_works(model: LanguageModel, tp: int = 1, layers: range | None = None) -> tuple[AttentionWork, ...]:
    """Attention of one rank by kind of layer; layers without softmax attention are left out."""
    found = (_attention(mixer, count, tp) for mixer, count in Counter(_mixers(model, layers)).items())
    return tuple(item for item in found if item is not None)


def _attention(mixer: Mixer, count: int, tp: int) -> AttentionWork | None:
    match mixer:
        case Attention(crosses_to_vision=False):
            pair = 2.0 * (mixer.key_dim + mixer.value_dim) * mixer.query_heads / tp
            return AttentionWork(count=count, pair_flop=pair, reach=cache_reach(mixer), ratio=0)
        case LatentAttention():
            pair = 2.0 * (mixer.nope_dim + mixer.rope_dim + mixer.value_dim) * mixer.query_heads / tp
            reach = mixer.indexer.top_k if mixer.indexer is not None else None
            return AttentionWork(count=count, pair_flop=pair, reach=reach, ratio=0)
        case CompressedAttention():
            pair = 4.0 * mixer.head_dim * mixer.query_heads / tp
            return AttentionWork(count=count, pair_flop=pair, reach=mixer.window_tokens, ratio=mixer.ratio)
        case _:
            return None


def attention_flop(
    model: LanguageModel, new_tokens: float, past_tokens: float, tp: int = 1, layers: range | None = None
) -> float:
    """Operations of one rank's attention over `new_tokens` after `past_tokens`: scores and values, causal."""
    return sum(work.flop(new_tokens, past_tokens) * work.count for work in attention_works(model, tp, layers))
