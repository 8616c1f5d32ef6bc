"""The pages that vLLM gives each layer: what `get_kv_cache_spec` of vLLM 0.32.0 returns, from the model's shapes.

Sources: vllm/v1/kv_cache_interface.py, model_executor/layers/mamba/mamba_utils.py, models/deepseek_v4; measured for
109 models (evidence vllm_kv_pool).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from fitserve.foundation.units import ceil_div, round_up
from fitserve.models.types import (
    Attention,
    CompressedAttention,
    LanguageModel,
    LatentAttention,
    LinearAttention,
    Mixer,
    ShortConvolution,
    StateSpace,
)

DEFAULT_BLOCK_TOKENS = 16  # CUDA platforms
CPU_BLOCK_TOKENS = 128  # CPU platform, attention without latent cache
SPARSE_BLOCK_TOKENS = 64  # FlashMLA sparse kernels (DeepSeek-V3.2, GLM-5)
COMPRESSED_BLOCK_TOKENS = 256  # DeepSeek-V4
LATENT_HYBRID_KERNEL_TOKENS = 128
CPU_WINDOW_BLOCK_TOKENS = 32  # CPU platform, windowed layers and layers beside states
FP8_KERNEL_BLOCK_TOKENS = 64  # FlashMLA with fp8, and heads too wide for FlashAttention with fp8
WIDEST_FLASH_HEAD = 256
FP8_LATENT_BYTES = 656  # fp8_ds_mla of DeepSeek-V3.2: 512 fp8 + 4 scales + 64 bf16
FP8_COMPRESSED_BYTES = 584  # fp8_ds_mla of DeepSeek-V4
COMPRESSED_ALIGNMENT = 576
INDEX_QUANT_BLOCK = 128  # index keys: fp8 with one float32 scale per 128 values


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerPage:
    """One cache tensor of one layer on one rank."""

    kind: str
    """FullAttention, SlidingWindow, ChunkedLocalAttention, MLAAttention, SlidingWindowMLA or Mamba."""
    layer: int
    block_tokens: int
    page_bytes: int
    reach_tokens: int | None = None
    can_pad: bool = True
    checkpoint_blocks: int = 0
    """Mamba-2 layers keep one more state per request when prefix caching aligns states to blocks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageSettings:
    """Choices that shape the pages. `element_bytes` is of a KV element; `asked_block_tokens` None is the default."""

    tp: int
    element_bytes: float
    kv_format: str
    dtype_bytes: int = 2
    asked_block_tokens: int | None = None
    is_cpu: bool = False
    speculative_tokens: int = 0


def heads_per_rank(kv_heads: int, tp: int) -> int:
    """KV heads of one rank: divided by tensor parallel size, and replicated once there are fewer heads than ranks."""
    return max(1, kv_heads // tp)


@lru_cache(maxsize=64)
def layer_pages(model: LanguageModel, settings: PageSettings) -> tuple[LayerPage, ...]:
    """All pages of a model on one rank, in layer order, states already padded to the attention page."""
    mixers = [(index, mixer) for index, layer in enumerate(model.layers) for mixer in layer.mixers]
    if settings.speculative_tokens:
        mixers += [(len(model.layers) + index, mixer) for index, mixer in enumerate(model.mtp_mixers)]
    if any(isinstance(mixer, CompressedAttention) for _, mixer in mixers):
        return tuple(_compressed_pages([(i, m) for i, m in mixers if isinstance(m, CompressedAttention)]))
    states = [(i, m) for i, m in mixers if isinstance(m, LinearAttention | StateSpace | ShortConvolution)]
    block = _block_tokens(model, mixers, states, settings)
    pages: list[LayerPage] = []
    for index, mixer in mixers:
        pages += _attention_pages(index, mixer, block, settings)
    token_bytes = max((_bytes_per_token(m, settings) for _, m in mixers), default=0.0)
    for index, mixer in states:
        size = state_bytes(mixer, model, settings)
        pages.append(
            LayerPage(
                kind="Mamba",
                layer=index,
                block_tokens=block,
                page_bytes=max(size, int(block * token_bytes)),
                checkpoint_blocks=int(isinstance(mixer, StateSpace) and mixer.generation == 2),
            )
        )
    return tuple(sorted(pages, key=lambda page: page.layer))


def _block_tokens(
    model: LanguageModel, mixers: list[tuple[int, Mixer]], states: Sequence[tuple[int, Mixer]], settings: PageSettings
) -> int:
    """Tokens in a block: raised to 64 by sparse kernels and, with states, until an attention page holds a state."""
    latent = any(isinstance(mixer, LatentAttention) for _, mixer in mixers)
    if any(isinstance(mixer, LatentAttention) and mixer.indexer for _, mixer in mixers):
        return SPARSE_BLOCK_TOKENS
    asked = settings.asked_block_tokens or (
        CPU_BLOCK_TOKENS if settings.is_cpu and not latent else DEFAULT_BLOCK_TOKENS
    )
    asked = max(asked, _kernel_block(mixers, bool(states), settings))
    if not states:
        return asked
    kernel = max(DEFAULT_BLOCK_TOKENS, asked if settings.is_cpu else 0)
    if latent:
        kernel = max(kernel, LATENT_HYBRID_KERNEL_TOKENS)
    largest = max(state_bytes(mixer, model, settings) for _, mixer in states)
    per_token = max((_bytes_per_token(mixer, settings) for _, mixer in mixers), default=0.0)
    if not per_token:
        return asked
    return max(asked, kernel * ceil_div(largest, int(kernel * per_token)))


def _kernel_block(mixers: list[tuple[int, Mixer]], has_states: bool, settings: PageSettings) -> int:
    """The smallest block that the attention kernels of these layers take (evidence vllm_kv_pool, 0.32.0)."""
    attention = [mixer for _, mixer in mixers if isinstance(mixer, Attention)]
    if settings.is_cpu:
        windowed = any(mixer.window_tokens or mixer.chunk_tokens for mixer in attention)
        return CPU_WINDOW_BLOCK_TOKENS if windowed or has_states else DEFAULT_BLOCK_TOKENS
    if not settings.kv_format.startswith("fp8"):
        return DEFAULT_BLOCK_TOKENS
    latent = any(isinstance(mixer, LatentAttention) for _, mixer in mixers)
    wide = any(mixer.key_dim > WIDEST_FLASH_HEAD for mixer in attention)
    return FP8_KERNEL_BLOCK_TOKENS if latent or wide else DEFAULT_BLOCK_TOKENS


def _bytes_per_token(mixer: Mixer, settings: PageSettings) -> float:
    match mixer:
        case Attention() if not mixer.shares_kv and not mixer.crosses_to_vision:
            heads = heads_per_rank(mixer.kv_heads, settings.tp)
            return heads * (mixer.key_dim + mixer.value_dim) * settings.element_bytes
        case LatentAttention():
            if mixer.indexer and settings.kv_format.startswith("fp8"):
                return FP8_LATENT_BYTES
            return mixer.cache_width * settings.element_bytes
        case _:
            return 0.0


def _attention_pages(index: int, mixer: Mixer, block: int, settings: PageSettings) -> list[LayerPage]:
    size = int(block * _bytes_per_token(mixer, settings))
    if not size:
        return []
    if isinstance(mixer, LatentAttention):
        pages = [LayerPage(kind="MLAAttention", layer=index, block_tokens=block, page_bytes=size, can_pad=False)]
        if mixer.indexer and not mixer.shares_index:
            width = mixer.indexer.head_dim + mixer.indexer.head_dim // INDEX_QUANT_BLOCK * 4
            pages.append(
                LayerPage(kind="MLAAttention", layer=index, block_tokens=block, page_bytes=block * width, can_pad=False)
            )
        return pages
    assert isinstance(mixer, Attention)
    if mixer.window_tokens:
        kind, reach = "SlidingWindow", mixer.window_tokens
    elif mixer.chunk_tokens:
        kind, reach = "ChunkedLocalAttention", mixer.chunk_tokens
    else:
        kind, reach = "FullAttention", None
    return [LayerPage(kind=kind, layer=index, block_tokens=block, page_bytes=size, reach_tokens=reach)]


def state_bytes(mixer: Mixer, model: LanguageModel, settings: PageSettings) -> int:
    """Bytes of one sequence's state in one layer on one rank (vllm mamba_utils, *_state_shape and *_state_dtype)."""
    tp, width = settings.tp, settings.dtype_bytes
    recurrent_width = 4 if model.recurrent_dtype == "f32" or settings.is_cpu else width
    match mixer:
        case LinearAttention(kind="lightning"):
            return mixer.value_heads // tp * mixer.key_dim * mixer.value_dim * width
        case LinearAttention():
            channels = (2 * mixer.key_heads * mixer.key_dim + mixer.value_heads * mixer.value_dim) // tp
            state = mixer.value_heads // tp * mixer.value_dim * mixer.key_dim
            window = mixer.conv_kernel - 1 + settings.speculative_tokens
            return window * channels * width + state * (4 if mixer.kind == "kda" else recurrent_width)
        case StateSpace(generation=1):
            inner = mixer.inner // tp
            return (mixer.conv_kernel - 1) * inner * width + inner * mixer.state * recurrent_width
        case StateSpace():
            groups = mixer.groups if mixer.groups % tp == 0 else tp
            channels = (mixer.inner + 2 * groups * mixer.state) // tp
            window = mixer.conv_kernel - 1 + settings.speculative_tokens
            return window * channels * width + mixer.inner // tp * mixer.state * recurrent_width
        case ShortConvolution():
            return (mixer.kernel - 1 + settings.speculative_tokens) * (mixer.channels // tp) * width
        case _:
            return 0


def _compressed_pages(mixers: list[tuple[int, CompressedAttention]]) -> list[LayerPage]:
    """DeepSeek-V4: a window, compressed keys, index keys and the rings of the compressors; the same on every rank."""
    pages: list[LayerPage] = []
    for layer, mixer in mixers:
        pages.append(
            _aligned(
                "SlidingWindowMLA",
                layer,
                SPARSE_BLOCK_TOKENS,
                SPARSE_BLOCK_TOKENS * FP8_COMPRESSED_BYTES,
                mixer.window_tokens,
            )
        )
        if not mixer.ratio:
            continue
        entries = COMPRESSED_BLOCK_TOKENS // mixer.ratio
        overlap = 2 if mixer.ratio == 4 else 1
        ring = 4 if mixer.ratio == 4 else 8
        pages.append(_aligned("MLAAttention", layer, COMPRESSED_BLOCK_TOKENS, entries * FP8_COMPRESSED_BYTES, None))
        pages.append(
            _aligned("SlidingWindowMLA", layer, ring, ring * 2 * overlap * mixer.head_dim * 4, overlap * mixer.ratio)
        )
        if mixer.indexer:
            dim = mixer.indexer.head_dim
            width = dim + dim // INDEX_QUANT_BLOCK * 4
            pages.append(_aligned("MLAAttention", layer, COMPRESSED_BLOCK_TOKENS, entries * width, None))
            pages.append(_aligned("SlidingWindowMLA", layer, ring, ring * 2 * overlap * dim * 4, overlap * mixer.ratio))
    return pages


def _aligned(kind: str, layer: int, block: int, size: int, reach: int | None) -> LayerPage:
    return LayerPage(
        kind=kind,
        layer=layer,
        block_tokens=block,
        page_bytes=round_up(size, COMPRESSED_ALIGNMENT),
        reach_tokens=reach,
        can_pad=False,
    )
