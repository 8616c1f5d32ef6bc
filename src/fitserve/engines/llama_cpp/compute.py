"""The compute buffer: the largest moment of the graph for one micro-batch.

Two laws. From about b10000 the server keeps logits for one token a slot, and the widest block rules; found by varying
one dimension at a time on the real engine (evidence gguf_memory_engine, 582 allocations, 41 architectures). Before,
logits of the whole micro-batch ruled, or the scores of attention without flash attention (public logs b2795 to b5781).
All terms count 4-byte floats per token of the micro-batch.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

from fitserve.engines.llama_cpp.kv_cache import window_of
from fitserve.engines.llama_cpp.rules import facts
from fitserve.engines.llama_cpp.settings import ServerSettings
from fitserve.footprint.kv_cache import state_elements
from fitserve.models.types import (
    Attention,
    CompressedAttention,
    DenseMlp,
    Experts,
    LanguageModel,
    LatentAttention,
    LinearAttention,
    StateSpace,
)

_SMALL = 20_000  # bytes of graph inputs that do not grow with the micro-batch
_LONG_CONTEXT_CELLS = 65_536
_PIPELINE_COPIES = 4  # GGML_SCHED_MAX_COPIES


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shape:
    """Dimensions that the phases are written in."""

    architecture: str
    hidden: int
    attention: Attention | None
    latent: LatentAttention | None
    state: StateSpace | None
    linear: LinearAttention | None
    compressed: CompressedAttention | None
    dense: DenseMlp | None
    experts: Experts | None
    layers: int
    full_heads: int
    window_heads: int
    """Query heads of layers that see everything, and of those with a window (Laguna has more of these)."""
    is_indexed: bool
    extra_residual: int
    """Width that blocks hold whose attention and feed-forward parts share one norm, and Llama 4's experts; 0 elsewhere."""
    layer_inputs: int
    """Widths of the inputs that layers have beside the residual, all together (Gemma 3n and 4)."""
    cells: int
    window_cells: int

    @property
    def queries(self) -> int:
        """Width of the query projection."""
        if self.attention is not None:
            return self.attention.query_heads * self.attention.key_dim
        if self.latent is not None:
            return self.latent.query_heads * (self.latent.nope_dim + self.latent.rope_dim)
        return 0


def _shape(model: LanguageModel, settings: ServerSettings) -> _Shape:
    shape, window = _constants(model)
    return replace(shape, cells=settings.cells, window_cells=settings.window_cells(window) if window else 0)


@lru_cache(maxsize=512)
def _constants(model: LanguageModel) -> tuple[_Shape, int]:
    """What does not depend on the settings, and the widest window (0 without any)."""
    mixers = [mixer for layer in model.layers for mixer in layer.mixers]
    attention = [m for m in mixers if isinstance(m, Attention)]
    windows = [w for m in mixers if (w := window_of(model, m)) is not None]
    dense = [layer.dense for layer in model.layers if layer.dense is not None]
    shape = _Shape(
        architecture=model.gguf_architecture or "",
        hidden=model.hidden_size,
        attention=max(attention, key=lambda m: m.query_heads * m.key_dim, default=None),
        latent=next((m for m in mixers if isinstance(m, LatentAttention)), None),
        state=next((m for m in mixers if isinstance(m, StateSpace)), None),
        linear=next((m for m in mixers if isinstance(m, LinearAttention)), None),
        compressed=next((m for m in mixers if isinstance(m, CompressedAttention)), None),
        dense=max(dense, key=lambda mlp: mlp.width, default=None),
        experts=next((layer.experts for layer in model.layers if layer.experts is not None), None),
        layers=len(model.layers),
        full_heads=max((m.query_heads for m in attention if window_of(model, m) is None), default=0),
        window_heads=max((m.query_heads for m in attention if window_of(model, m) is not None), default=0),
        is_indexed=any(m.index_dim for m in attention),
        extra_residual=_extra_residual(model),
        layer_inputs=next((g.shape[0] for g in model.tensors if g.role == "per_layer_token_embd.weight"), 0),
        cells=0,
        window_cells=0,
    )
    return shape, max(windows, default=0)


def _extra_residual(model: LanguageModel) -> int:
    named = model.gguf_architecture in facts()["compute"]["extra_residual"]
    has_own_norm = any(group.role == "attn_norm_2.weight" for group in model.tensors)  # Falcon 40B and 180B
    return model.hidden_size if named and not has_own_norm else 0


def compute_bytes(
    model: LanguageModel, settings: ServerSettings, limited_outputs: bool, on_gpu: bool = False, devices: int = 1
) -> int:
    """Bytes of the compute buffer of one device."""
    shape = _shape(model, settings)
    if not limited_outputs:
        return _older_bytes(model, settings, shape, on_gpu, devices)
    floats = _phases(shape, settings)
    return round(4 * settings.micro_batch_tokens * floats) + _SMALL + _rotation_bytes(shape, settings)


def _rotation_bytes(shape: _Shape, settings: ServerSettings) -> int:
    """Inputs that rotate quantized keys and values: about (head size squared + 64 squared) floats a cache."""
    if settings.key_format in {"f16", "bf16", "f32"} or shape.attention is None:
        return 0
    caches = 2 if shape.window_cells else 1
    return 4 * caches * (shape.attention.key_dim**2 + 64**2)


def _phases(shape: _Shape, settings: ServerSettings) -> float:
    """The widest phase, with the attention masks that live through all of them."""
    flash = settings.flash_attention
    masks = (shape.cells + shape.window_cells) * (0.5 if flash else 1.0)
    candidates = [
        _dense_phase(shape, flash),
        _expert_phase(shape, flash),
        _state_phase(shape, settings),
        _linear_phase(shape, settings),
    ]
    if shape.attention is None and shape.latent is None and shape.compressed is None:
        masks = 0.0
    if shape.linear is not None and shape.linear.kind == "lightning":
        masks += _decay(shape.linear, settings) + 2 * shape.linear.value_heads
    if shape.attention is not None and not flash:
        candidates.append(_score_phase(shape))
    if shape.latent is not None:
        candidates.append(_latent_phase(shape, flash))
    if shape.compressed is not None:
        candidates.append(_compressed_phase(shape, settings))
    if shape.is_indexed and flash:
        candidates.append(_indexed_phase(shape, settings))
    widest = max(candidates) + masks
    if shape.latent is not None and shape.latent.indexer is not None:
        widest = max(widest, _sparse_phase(shape, flash))
    return widest + _deepstack(shape, flash)


def _dense_phase(shape: _Shape, flash: bool) -> float:
    if shape.dense is None:
        return 0.0
    inputs = 2 * shape.layer_inputs  # of every layer, held twice
    width = 5 * shape.hidden + (3 if shape.dense.gated else 1) * shape.dense.width + inputs
    if shape.architecture == "gemma3n":  # four residual streams: one more beside a wide block, all of them else
        width = max(width + shape.hidden, 21 * shape.hidden + inputs)
    if shape.architecture == "gemma4" and shape.layer_inputs >= shape.dense.width:
        width -= shape.dense.width  # one of the three fits the hole that the inputs leave
    width += shape.extra_residual
    return width + (0 if flash else 2 * shape.queries)


def _expert_phase(shape: _Shape, flash: bool) -> float:
    moe = shape.experts
    if moe is None:
        return 0.0
    hidden, extra = shape.hidden, 0 if flash else 2 * shape.queries
    if moe.expert_bias:
        return 5 * hidden + 2 * moe.used * moe.width + moe.used * hidden + extra
    if not moe.gated:
        return 5 * hidden + moe.used * moe.width + moe.used * (moe.latent_width or hidden) + extra
    down = moe.used * hidden if hidden > 2 * moe.width else 0  # the output does not fit the hole that gate and up leave
    return 5 * hidden + 3 * moe.used * moe.width + down + extra + shape.extra_residual


def _score_phase(shape: _Shape) -> float:
    """Attention without flash kernels: all scores of all heads, queries and keys before and after rotation."""
    mixer, hidden, terms = shape.attention, shape.hidden, facts()["compute"]
    assert mixer is not None
    keys = mixer.kv_heads * mixer.key_dim
    scores = max(shape.full_heads * shape.cells, shape.window_heads * shape.window_cells)
    if shape.architecture == "qwen3vl":
        return scores + 5 * hidden + 2 * keys
    wide = shape.queries > hidden
    copies = 2 if wide else 1
    if shape.architecture in terms["no_rotation"]:
        copies = 1
    if shape.architecture in terms["gated_queries"]:
        copies += 1
    if shape.architecture == "falcon-h1":
        copies -= 1
    size = scores + 5 * hidden + shape.queries * copies + (4 if shape.window_cells else 2) * keys
    if shape.layer_inputs:
        size += shape.layer_inputs + (3 * hidden if shape.architecture == "gemma3n" else 0)
    return size - (hidden if shape.architecture in terms["fused_or_post_norm"] else 0)


def _indexed_phase(shape: _Shape, settings: ServerSettings) -> float:
    """Block-sparse attention (MiniMax-M3): scores of the index heads over all cells; several streams run dense."""
    if settings.streams > 1:
        return _expert_phase(shape, flash=True) + shape.queries
    return 5 * shape.hidden + 2 * shape.queries + 9 * shape.cells


def _decay(mixer: LinearAttention, settings: ServerSettings) -> float:
    """Lightning attention: decay between all tokens of a sequence's part of the micro-batch, for every head."""
    return mixer.value_heads * settings.micro_batch_tokens / settings.slots


def _latent_phase(shape: _Shape, flash: bool) -> float:
    mixer = shape.latent
    assert mixer is not None
    rotations = 2 if shape.architecture == "glm-dsa" else 3
    width = mixer.query_heads * (2 * mixer.kv_lora_rank + mixer.nope_dim + rotations * mixer.rope_dim)
    return 5 * shape.hidden + width + (0 if flash else mixer.query_heads * shape.cells)


def _sparse_phase(shape: _Shape, flash: bool) -> float:
    """Sparse attention: the chosen tokens of every layer, and the index scores; masks are part of it."""
    mixer = shape.latent
    assert mixer is not None and mixer.indexer is not None
    long = shape.cells >= _LONG_CONTEXT_CELLS
    size = _latent_phase(shape, flash) + shape.layers * mixer.indexer.top_k + (2 if long else 1) * shape.cells
    return size + (2 * shape.hidden if shape.architecture == "glm-dsa" and not long else 0)


def _compressed_phase(shape: _Shape, settings: ServerSettings) -> float:
    """DeepSeek-V4: the expert phase plus 18 residual widths (four streams and their mixing; measured, not derived).

    Without flash attention the scores over window and compressed keys come on top.
    """
    mixer = shape.compressed
    assert mixer is not None
    size = _expert_phase(shape, flash=True) + 18.0 * shape.hidden
    if settings.flash_attention:
        return size
    return size + mixer.query_heads * (settings.window_cells(mixer.window_tokens) + shape.cells // 4)


def _state_phase(shape: _Shape, settings: ServerSettings) -> float:
    mixer = shape.state
    if mixer is None:
        return 0.0
    state = state_elements(mixer)
    assert state is not None
    held = settings.slots * (state.convolution + state.recurrent) / settings.micro_batch_tokens
    return 5 * shape.hidden + 5 * mixer.inner + 6 * mixer.groups * mixer.state + mixer.heads + held


def _linear_phase(shape: _Shape, settings: ServerSettings) -> float:
    mixer = shape.linear
    if mixer is None or mixer.kind == "kda":
        return 0.0
    if mixer.kind == "lightning":
        held = mixer.value_heads * mixer.key_dim * mixer.value_dim * settings.slots / settings.micro_batch_tokens
        width = 5 * shape.hidden + 5 * mixer.value_heads * mixer.value_dim + 2 * _decay(mixer, settings)
        return width + (held if settings.slots > 1 else 0)
    state = state_elements(mixer)
    assert state is not None
    inner = mixer.value_heads * mixer.value_dim
    held = settings.slots * (state.convolution + state.recurrent) / settings.micro_batch_tokens
    return 5 * shape.hidden + 5 * inner + 2 * mixer.key_heads * mixer.key_dim + held


def _deepstack(shape: _Shape, flash: bool) -> float:
    """Vision features that Qwen3-VL adds to its first layers wait in the buffer."""
    widths: int = facts()["compute"]["deepstack"].get(shape.architecture, 0)
    if shape.architecture == "qwen3vl" and not flash:
        return 17 * shape.hidden
    return widths * shape.hidden


def _older_bytes(model: LanguageModel, settings: ServerSettings, shape: _Shape, on_gpu: bool, devices: int) -> int:
    """Builds that reserve logits for the whole micro-batch."""
    batch, hidden = settings.micro_batch_tokens, shape.hidden
    logits = model.vocab_size + hidden
    floats = float(logits)
    heads = shape.attention.query_heads if shape.attention else shape.latent.query_heads if shape.latent else 0
    if settings.flash_attention:
        if on_gpu:
            floats += 0.5 * shape.cells + hidden
    else:
        copies = _PIPELINE_COPIES if devices > 1 else 1
        scores = heads * shape.cells + copies * shape.cells + (8 if devices > 1 else 4) * hidden
        floats = max(floats, scores)
    return round(4 * batch * floats) + _SMALL


def host_compute_bytes(model: LanguageModel, settings: ServerSettings, limited_outputs: bool, devices: int) -> int:
    """Pinned host buffer beside GPU layers: the mask and the input embeddings, copied for pipelining over devices."""
    shape = _shape(model, settings)
    copies = _PIPELINE_COPIES if devices > 1 and not limited_outputs else 1
    mask = (shape.cells + shape.window_cells) * (0.5 if limited_outputs and settings.flash_attention else 1.0)
    return round(4 * settings.micro_batch_tokens * (copies * mask + shape.hidden)) + _SMALL
