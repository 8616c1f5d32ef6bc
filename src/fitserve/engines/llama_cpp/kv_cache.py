"""Cache and state of llama.cpp, layer by layer; equal to the engine's own lines (evidence gguf_memory_engine)."""

from functools import lru_cache

from fitserve.engines.llama_cpp.rules import feature
from fitserve.engines.llama_cpp.settings import CELL_MULTIPLE, ServerSettings
from fitserve.footprint.kv_cache import BYTES_PER_ELEMENT, state_elements
from fitserve.foundation.errors import FactMissing
from fitserve.foundation.units import ceil_div, round_up
from fitserve.models.types import Attention, CompressedAttention, LanguageModel, LatentAttention, Mixer

_CHUNK_WINDOW = 8192  # llama4 keeps a window of 8192 in chunked layers, whatever the file says (src/models/llama4.cpp)
_STATE_BYTES = 4  # states are F32
_OVERLAPPING_RATIO = 4


def window_of(model: LanguageModel, mixer: Mixer) -> int | None:
    """Window of a layer as llama.cpp sees it; None where every token is kept."""
    if model.gguf_architecture not in feature("windowed_architectures") or not isinstance(mixer, Attention):
        return None
    if mixer.chunk_tokens:
        return _CHUNK_WINDOW
    return mixer.window_tokens


@lru_cache(maxsize=512)
def layer_kinds(model: LanguageModel) -> tuple[tuple[tuple[Mixer, ...], ...], tuple[int, ...]]:
    """The distinct mixers of a model's layers, and which of them each layer has."""
    kinds: dict[tuple[Mixer, ...], int] = {}
    which = tuple(kinds.setdefault(layer.mixers, len(kinds)) for layer in model.layers)
    return tuple(kinds), which


@lru_cache(maxsize=1024)
def kind_caches(model: LanguageModel, settings: ServerSettings, latent_cache: bool = True) -> tuple[int, ...]:
    """KV bytes of one layer of every kind over all streams."""
    return tuple(_cache_bytes(model, mixers, settings, latent_cache) for mixers in layer_kinds(model)[0])


def _cache_bytes(model: LanguageModel, mixers: tuple[Mixer, ...], settings: ServerSettings, latent_cache: bool) -> int:
    widest_value = _widest_value(model)
    total = 0.0
    if not mixers and not settings.flash_attention and model.gguf_architecture == "deci":
        # a layer without attention has no keys, but its values are as wide as the widest layer's all the same
        total += settings.cells * settings.streams * widest_value * _value(settings)
    for mixer in mixers:
        match mixer:
            case Attention() if not mixer.shares_kv and not mixer.crosses_to_vision:
                window = window_of(model, mixer)
                cells = settings.cells if window is None else settings.window_cells(window)
                values = mixer.kv_heads * mixer.value_dim
                # without flash attention values are stored transposed, as wide as the widest layer's
                values = values if settings.flash_attention else max(values, widest_value)
                total += (
                    cells
                    * settings.streams
                    * (mixer.kv_heads * mixer.key_dim * _key(settings) + values * _value(settings))
                )
                if (
                    mixer.index_dim
                ):  # a cache of its own with one head, whose values nobody needs (llama-kv-cache-msa.cpp)
                    index = mixer.index_dim * _key(settings) + mixer.value_dim * _value(settings)
                    total += settings.cells * settings.streams * index
            case LatentAttention():
                total += settings.cells * settings.streams * _latent_bytes(mixer, settings, latent_cache)
            case CompressedAttention():
                total += settings.slots * _key(settings) * _compressed_elements(mixer, settings)
            case _:
                pass
    return round(total)


def _latent_bytes(mixer: LatentAttention, settings: ServerSettings, latent_cache: bool) -> float:
    if not latent_cache:
        heads = mixer.query_heads
        return heads * (mixer.nope_dim + mixer.rope_dim) * _key(settings) + heads * mixer.value_dim * _value(settings)
    index = mixer.indexer.head_dim if mixer.indexer and not mixer.shares_index else 0
    return (mixer.cache_width + index) * _key(settings)


def _compressed_elements(mixer: CompressedAttention, settings: ServerSettings) -> int:
    """A window, and for compressed layers the compressed keys (and index keys at ratio 4); always one stream a slot."""
    dim = mixer.head_dim
    held = settings.cells if settings.full_window_cache else mixer.window_tokens + settings.micro_batch_tokens
    total = dim * round_up(min(settings.cells, held), CELL_MULTIPLE)
    if mixer.ratio:
        index = mixer.indexer.head_dim if mixer.indexer else 0
        total += (dim + index) * round_up(ceil_div(settings.cells, mixer.ratio), CELL_MULTIPLE)
    return total


@lru_cache(maxsize=512)
def _widest_value(model: LanguageModel) -> int:
    return max(
        (m.kv_heads * m.value_dim for layer in model.layers for m in layer.mixers if isinstance(m, Attention)),
        default=0,
    )


def element_bytes(kv_type: str) -> float:
    """Bytes of a cache element. Raises FactMissing for a type that is none."""
    try:
        return BYTES_PER_ELEMENT[kv_type]
    except KeyError as error:
        raise FactMissing(f"bytes of the KV type {kv_type}", "src/fitserve/footprint/kv_cache.py") from error


def _key(settings: ServerSettings) -> float:
    return element_bytes(settings.key_format)


def _value(settings: ServerSettings) -> float:
    return element_bytes(settings.value_format)


def mixer_state_bytes(mixers: tuple[Mixer, ...], slots: int) -> int:
    """Recurrent state of a layer with these mixers: per slot, whatever the context."""
    total = 0
    for mixer in mixers:
        state = state_elements(mixer)
        if isinstance(mixer, CompressedAttention):
            total += slots * _compressor_elements(mixer) * _STATE_BYTES
        if state is not None:
            total += slots * (state.convolution + state.recurrent) * _STATE_BYTES
    return total


def _compressor_elements(mixer: CompressedAttention) -> int:
    """What the compressors hold of tokens that are not compressed yet: keys and scores (llama-kv-cache-dsv4.cpp).

    At ratio 4 windows overlap, which doubles width and length; there the indexer has a compressor of its own.
    """
    if not mixer.ratio:
        return 0
    if mixer.ratio != _OVERLAPPING_RATIO:
        return 2 * mixer.head_dim * mixer.ratio
    index = mixer.indexer.head_dim if mixer.indexer else 0
    return 2 * 2 * (mixer.head_dim + index) * 2 * mixer.ratio


def kv_bytes(model: LanguageModel, settings: ServerSettings, latent_cache: bool = True) -> int:
    """KV bytes of the whole model."""
    caches = kind_caches(model, settings, latent_cache)
    return sum(caches[kind] for kind in layer_kinds(model)[1])


def state_bytes(model: LanguageModel, settings: ServerSettings) -> int:
    """Recurrent state of the whole model."""
    return sum(mixer_state_bytes(layer.mixers, settings.slots) for layer in model.layers)
