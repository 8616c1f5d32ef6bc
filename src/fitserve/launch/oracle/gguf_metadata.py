"""What the GGUF converter writes of a model's shape, the inverse of models/from_gguf.py; enough for the engine to load it.

Keys: llama.cpp v0.5.0 src/llama-arch.cpp LLM_KV_NAMES. Constants without influence on memory (epsilons, scales) stand for
those of the real file; gguf_headers.toml lists them and the names in which an architecture differs.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from fitserve.foundation.facts import load_toml
from fitserve.launch.oracle.gguf_writer import Value
from fitserve.models.gguf_tensors import gguf_tensors
from fitserve.models.types import (
    Attention,
    CompressedAttention,
    LanguageModel,
    LatentAttention,
    Layer,
    LinearAttention,
    Mixer,
    ShortConvolution,
    StateSpace,
)

_UNKNOWN, _CONTROL, _BYTE, _NORMAL = 2, 3, 6, 1  # token types of a SentencePiece vocabulary


@lru_cache(maxsize=1)
def header_rules() -> Mapping[str, Any]:
    """gguf_headers.toml."""
    return load_toml("fitserve.launch.oracle", "gguf_headers.toml")


def file_metadata(model: LanguageModel, mix: str) -> dict[str, Value]:
    """All metadata of the file of a mix: shape, constants, vocabulary."""
    architecture = str(model.gguf_architecture)
    rules = header_rules()
    own = rules["architectures"].get(architecture, {})
    constants = {**rules["constants"], "ssm.inner_size": 2 * model.hidden_size, **own.get("defaults", {})}
    shape = {**constants, **model_metadata(model), **own.get("keys", {})}
    # no general.name: from a name with "phi-3" in it the engine concludes tokens that only that vocabulary has
    found: dict[str, Value] = {"general.architecture": architecture}
    found |= {key if key.startswith("xielu.") else f"{architecture}.{key}": value for key, value in shape.items()}
    numbers = {
        name: int(number) for number, name in load_toml("fitserve.models", "gguf_files.toml")["file_types"].items()
    }
    if mix in numbers:
        found["general.file_type"] = numbers[mix]
    return found | vocabulary(model)


def vocabulary(model: LanguageModel) -> dict[str, Value]:
    """The smallest vocabulary that the engine takes, of as many tokens as the embedding has rows."""
    rows = next(group.shape[1] for group in gguf_tensors(model) if group.role == "token_embd.weight")
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{index:02X}>" for index in range(256))]
    kinds = [_UNKNOWN, _CONTROL, _CONTROL] + [_BYTE] * 256
    tokens += [f"t{index}" for index in range(rows - len(tokens))]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": [-float(index) for index in range(len(tokens))],
        "tokenizer.ggml.token_type": kinds + [_NORMAL] * (len(tokens) - len(kinds)),
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
    }


def tensor_names(model: LanguageModel) -> Mapping[str, str]:
    """Roles whose name in the file is another than the catalogue's."""
    rules = header_rules()
    own: Mapping[str, str] = rules["architectures"].get(str(model.gguf_architecture), {}).get("names", {})
    return {**rules["names"], **own}


def row_lengths(model: LanguageModel) -> Mapping[str, int]:
    """Row length of roles of one dimension that the file keeps as a matrix."""
    own = header_rules()["architectures"].get(str(model.gguf_architecture), {})
    found: Mapping[str, int] = own.get("rows", {})
    return found


def model_metadata(model: LanguageModel) -> dict[str, Any]:
    """The shape by key, without the architecture's prefix."""
    mixers = [layer.mixers for layer in model.layers]
    query_heads = [_heads(group, "query_heads") for group in mixers]
    usual = next(filter(None, query_heads), 0)
    found: dict[str, Any] = {
        "block_count": len(model.layers),
        "context_length": model.max_context_tokens,
        "embedding_length": model.hidden_size,
        "rope.dimension_count": model.rotary_dim,
        "feed_forward_length": [_width(layer) for layer in model.layers],
        # the engine reads sizes off layer 0, so recurrent layers carry the heads of the others
        "attention.head_count": [
            count or (usual if group else 0) for count, group in zip(query_heads, mixers, strict=True)
        ],
        "attention.head_count_kv": _kv_heads(model, mixers),
    }
    for group in mixers:
        for mixer in group:
            found |= _of_mixer(model, mixer)
    return found | _of_experts(model) | _of_layers(model, mixers) | _of_tensors(model)


def _of_experts(model: LanguageModel) -> dict[str, Any]:
    found = [layer.experts for layer in model.layers if layer.experts]
    if not found:
        return {}
    experts = found[0]
    where = [index for index, layer in enumerate(model.layers) if layer.experts is not None]
    step = where[1] - where[0] if len(where) > 1 else 1
    keys = {
        "expert_count": experts.count,
        "expert_used_count": experts.used,
        "expert_feed_forward_length": experts.width,
        "expert_shared_count": experts.shared_width // experts.width,
        "expert_shared_feed_forward_length": experts.shared_width,
        "leading_dense_block_count": where[0] if step == 1 else 0,
        "interleave_moe_layer_step": step,
        "hash_layer_count": sum(1 for item in found if item.hash_routed),
    }
    latent = {"expert_latent_length": experts.latent_width, "moe_latent_size": experts.latent_width}
    return keys | (latent if experts.latent_width else {})


def _of_tensors(model: LanguageModel) -> dict[str, Any]:
    """Sizes that only the tensors tell: inputs per layer, parallel residual streams, an indexer of plain attention."""
    shapes = {group.role: group.shape for group in gguf_tensors(model)}
    found: dict[str, Any] = {}
    inputs = shapes.get("per_layer_token_embd.weight")
    found["embedding_length_per_layer_input"] = inputs[0] // len(model.layers) if inputs else 0
    if "hc_head_fn.weight" in shapes:
        found["hyper_connection.count"] = shapes["hc_head_fn.weight"][1]
    if "indexer.q_proj.weight" in shapes:
        width = shapes["indexer.k_proj.weight"][1]
        found["attention.indexer.key_length"] = width
        found["attention.indexer.head_count"] = shapes["indexer.q_proj.weight"][1] // width
    return found


def _of_layers(model: LanguageModel, mixers: list[tuple[Mixer, ...]]) -> dict[str, Any]:
    """What is written as an array over layers."""
    found: dict[str, Any] = {}
    shared = sum(1 for group in mixers for mixer in group if isinstance(mixer, Attention) and mixer.shares_kv)
    if shared:
        found["attention.shared_kv_layers"] = shared
    windowed = [any(_window(model, mixer) for mixer in group) for group in mixers]
    if any(windowed):
        found["attention.sliding_window_pattern"] = windowed
    ratios = [mixer.ratio for group in mixers for mixer in group if isinstance(mixer, CompressedAttention)]
    return found | ({"attention.compress_ratios": ratios} if ratios else {})


def _window(model: LanguageModel, mixer: Mixer) -> int | None:
    """Window of a layer, for architectures whose windows the engine knows."""
    known = load_toml("fitserve.models", "gguf_files.toml")["windows"]
    if model.gguf_architecture not in known or not isinstance(mixer, Attention):
        return None
    return mixer.chunk_tokens or mixer.window_tokens


def _width(layer: Layer) -> int:
    """Width of the feed-forward part; none (Nemotron-H) is what marks a recurrent layer."""
    if layer.dense is not None:
        return layer.dense.width
    return layer.experts.width if layer.experts is not None else 0


def _heads(mixers: tuple[Mixer, ...], name: str) -> int:
    """Heads of the attention of a layer; zero without any."""
    for mixer in mixers:
        if isinstance(mixer, Attention):
            return int(getattr(mixer, name))
        if isinstance(mixer, LatentAttention | CompressedAttention):
            return mixer.query_heads if name == "query_heads" else 1
        if isinstance(mixer, LinearAttention) and mixer.kind != "gated_delta" and name == "query_heads":
            return mixer.value_heads
    return 0


def _kv_heads(model: LanguageModel, mixers: list[tuple[Mixer, ...]]) -> list[int]:
    """KV heads by layer; zero marks a recurrent layer, but for architectures that know theirs by an interval."""
    counts = [_heads(group, "kv_heads") for group in mixers]
    if model.gguf_architecture in header_rules()["interval"]["architectures"]:
        usual = next(filter(None, counts), 0)
        return [count or usual for count in counts]
    return counts


def _of_mixer(model: LanguageModel, mixer: Mixer) -> dict[str, Any]:
    match mixer:
        case Attention():
            return _of_attention(model, mixer)
        case LatentAttention():
            return _of_latent(mixer)
        case CompressedAttention():
            return {
                "attention.key_length": mixer.head_dim,
                "attention.value_length": mixer.head_dim,
                "attention.q_lora_rank": mixer.q_lora_rank,
                "attention.output_lora_rank": mixer.o_lora_rank,
                "attention.output_group_count": mixer.o_groups,
                "attention.sliding_window": mixer.window_tokens,
                "rope.dimension_count": mixer.rope_dim,
                **_indexer(mixer),
            }
        case LinearAttention():
            return _of_linear(mixer)
        case StateSpace():
            return {
                "ssm.conv_kernel": mixer.conv_kernel,
                "ssm.inner_size": mixer.inner,
                "ssm.state_size": mixer.state,
                "ssm.group_count": mixer.groups,
                "ssm.time_step_rank": mixer.dt_rank or mixer.heads,
            }
        case ShortConvolution():
            return {"shortconv.l_cache": mixer.kernel}


def _of_attention(model: LanguageModel, mixer: Attention) -> dict[str, Any]:
    window = _window(model, mixer)
    end = "_swa" if window else ""
    lengths = {f"attention.key_length{end}": mixer.key_dim, f"attention.value_length{end}": mixer.value_dim}
    return lengths | ({"attention.sliding_window": window} if window else {})


def _of_latent(mixer: LatentAttention) -> dict[str, Any]:
    return {
        "attention.key_length": mixer.cache_width,
        "attention.value_length": mixer.kv_lora_rank,
        "attention.key_length_mla": mixer.nope_dim + mixer.rope_dim,
        "attention.value_length_mla": mixer.value_dim,
        "attention.kv_lora_rank": mixer.kv_lora_rank,
        "rope.dimension_count": mixer.rope_dim,
        **({"attention.q_lora_rank": mixer.q_lora_rank} if mixer.q_lora_rank else {}),
        **_indexer(mixer),
    }


def _of_linear(mixer: LinearAttention) -> dict[str, Any]:
    if mixer.kind == "kda":
        return {"kda.head_dim": mixer.key_dim, "ssm.conv_kernel": mixer.conv_kernel}
    if mixer.kind == "lightning":
        return {"attention.key_length": mixer.key_dim, "attention.value_length": mixer.value_dim}
    return {
        "ssm.conv_kernel": mixer.conv_kernel,
        "ssm.inner_size": mixer.value_heads * mixer.value_dim,
        "ssm.state_size": mixer.key_dim,
        "ssm.group_count": mixer.key_heads,
        "ssm.time_step_rank": mixer.value_heads,
    }


def _indexer(mixer: LatentAttention | CompressedAttention) -> dict[str, int]:
    index = mixer.indexer
    if index is None:
        return {}
    return {
        "attention.indexer.head_count": index.heads,
        "attention.indexer.key_length": index.head_dim,
        "attention.indexer.top_k": index.top_k,
    }
