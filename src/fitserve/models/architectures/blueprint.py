"""What a family says about a model, and how that becomes a LanguageModel."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from fitserve.models.architectures.config import Config
from fitserve.models.tensors import grouped, layer_tensors
from fitserve.models.types import (
    Attention,
    CompressedAttention,
    LanguageModel,
    LatentAttention,
    Layer,
    Mixer,
    TensorGroup,
)

Extra = tuple[int | None, str, tuple[int, ...]]

_DTYPES = {"bfloat16": "bf16", "float16": "f16", "half": "f16", "float32": "f32", "float": "f32"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Blueprint:
    """Layers of the text model, its block norms, and tensors that belong to no mixer or feed-forward block."""

    layers: tuple[Layer, ...]
    gguf: str | None
    norms: tuple[str, ...] = ("attn_norm", "ffn_norm")
    norm_bias: bool = False
    final_norm: bool = True
    head_bias: bool = False
    tied_default: bool = False
    extra: tuple[Extra, ...] = ()
    gguf_vocab_rows: int | None = None
    tied: bool | None = None
    recurrent_dtype: str | None = None
    mtp_mixers: tuple[Mixer, ...] | None = None
    """Mixers of the MTP layers where they differ from the last attention layer."""
    norm_layers: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Norms that stand only in some layers."""


def assemble(
    blueprint: Blueprint, config: Config, model_id: str, others: tuple[TensorGroup, ...] = ()
) -> LanguageModel:
    """The model of this blueprint; `others` are vision and MTP tensors."""
    hidden = config.size("hidden_size", "d_model", "n_embd")
    vocab = config.size("vocab_size")
    tied = (
        blueprint.tied
        if blueprint.tied is not None
        else config.flag("tie_word_embeddings", default=blueprint.tied_default)
    )
    specs = grouped(_specs(blueprint, hidden, vocab, tied))
    names = config.outer.get("architectures") or [""]
    multimodal = any(config.outer.get(key) for key in ("vision_config", "audio_config", "vision_tower"))
    return LanguageModel(
        id=model_id,
        architecture=str(names[0]),
        model_type=str(config.outer.get("model_type") or config.text("model_type")),
        hidden_size=hidden,
        vocab_size=vocab,
        max_context_tokens=config.size(
            "max_position_embeddings", "max_sequence_length", "seq_length", "n_positions", default=2048
        ),
        tied_embeddings=tied,
        dtype=_DTYPES.get(config.text("torch_dtype", "dtype"), "bf16"),
        layers=blueprint.layers,
        tensors=specs + others,
        gguf_architecture=blueprint.gguf,
        rotary_dim=_rotary_dim(blueprint, config),
        recurrent_dtype=_DTYPES.get(config.text("mamba_ssm_dtype", "mamba_ssm_cache_dtype"), blueprint.recurrent_dtype),
        text_vocab_rows=blueprint.gguf_vocab_rows,
        mtp_mixers=_mtp_mixers(blueprint, config),
        is_multimodal=multimodal or any(group.part == "vision" for group in others),
        unaccounted=("vision",) if multimodal and not any(group.part == "vision" for group in others) else (),
    )


def _rotary_dim(blueprint: Blueprint, config: Config) -> int:
    """Widest rotated part of a head; `partial_rotary_factor` of the config rotates less than the whole."""
    rope = config.raw("rope_parameters")
    part = config.raw("partial_rotary_factor") or (
        rope.get("partial_rotary_factor") if isinstance(rope, dict) else None
    )
    factor = part if isinstance(part, int | float) and 0 < part <= 1 else 1.0
    mixers = [mixer for layer in blueprint.layers for mixer in layer.mixers]
    widths = [m.rope_dim for m in mixers if isinstance(m, LatentAttention | CompressedAttention)]
    widths += [int(m.key_dim * factor) for m in mixers if isinstance(m, Attention)]
    return max(widths, default=0)


def _mtp_mixers(blueprint: Blueprint, config: Config) -> tuple[Mixer, ...]:
    """One mixer per MTP layer: a copy of the model's last full attention."""
    count = config.count("num_nextn_predict_layers", "mtp_num_hidden_layers")
    if blueprint.mtp_mixers is not None or not count:
        return blueprint.mtp_mixers or ()
    full = [
        mixer
        for layer in blueprint.layers
        for mixer in layer.mixers
        if isinstance(mixer, Attention | LatentAttention) and not getattr(mixer, "window_tokens", None)
    ]
    if not full:
        return ()
    last = replace(full[-1], shares_index=False) if isinstance(full[-1], LatentAttention) else full[-1]
    return (last,) * count


def _specs(blueprint: Blueprint, hidden: int, vocab: int, tied: bool) -> Iterator[Extra]:
    yield None, "token_embd.weight", (hidden, vocab)
    for index, layer in enumerate(blueprint.layers):
        for norm in blueprint.norms:
            yield from _norm(norm, index, hidden, blueprint.norm_bias)
        for norm, where in blueprint.norm_layers.items():
            if index in where:
                yield from _norm(norm, index, hidden, blueprint.norm_bias)
        for role, shape in layer_tensors(layer, hidden, vocab):
            yield index, role, shape
    if blueprint.final_norm:
        yield from _norm("output_norm", None, hidden, blueprint.norm_bias)
    if not tied:
        yield None, "output.weight", (hidden, vocab)
    if blueprint.head_bias:
        yield None, "output.bias", (vocab,)
    yield from blueprint.extra


def _norm(role: str, layer: int | None, hidden: int, bias: bool) -> Iterator[Extra]:
    yield layer, f"{role}.weight", (hidden,)
    if bias:
        yield layer, f"{role}.bias", (hidden,)
