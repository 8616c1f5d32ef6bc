"""What a forward pass keeps for the backward pass: inputs of layers, what a layer keeps inside, logits and loss."""

from functools import lru_cache

from fitserve.foundation.facts import load_toml
from fitserve.models.types import (
    Attention,
    CompressedAttention,
    LanguageModel,
    LatentAttention,
    Layer,
    LinearAttention,
    Mixer,
    ShortConvolution,
)
from fitserve.training.coefficients import coefficient
from fitserve.training.types import FinetuneJob

_HALF = 2


@lru_cache(maxsize=4096)
def mixer_width(mixer: Mixer) -> int:
    """Numbers a token's projections into a mixer have: queries, keys and values."""
    match mixer:
        case Attention():
            return mixer.query_heads * mixer.key_dim + mixer.kv_heads * (mixer.key_dim + mixer.value_dim)
        case LatentAttention():
            keys = mixer.nope_dim + mixer.rope_dim
            return mixer.query_heads * (2 * keys + mixer.value_dim) + mixer.cache_width
        case CompressedAttention():
            return mixer.query_heads * mixer.head_dim + mixer.q_lora_rank
        case LinearAttention():
            return 2 * mixer.key_heads * mixer.key_dim + 2 * mixer.value_heads * mixer.value_dim
        case ShortConvolution():
            return 3 * mixer.channels
        case _:
            return 2 * mixer.inner


def _ffn_width(layer: Layer) -> int:
    """Numbers a token has between the matrices of a feed-forward block, once for each use that keeps them."""
    total = 0
    if layer.dense is not None:
        total += layer.dense.width * (3 if layer.dense.gated else 1)
    if layer.experts is not None:
        width = layer.experts.used * layer.experts.width + layer.experts.shared_width
        total += width * (3 if layer.experts.gated else 1)
    return total


def layer_token_bytes(model: LanguageModel, layer: Layer) -> float:
    """Bytes a token leaves inside a layer in 16 bit, frozen weights' inputs not counted.

    Twice the hidden size before and after each of the two norms with their FP32 copies (6 x 2), queries, keys and values
    before and after rotation with the output of attention (2.5), gate, its activation and the other half (3).
    """
    hidden = 6 * model.hidden_size
    dispatched = 2 * layer.experts.used * model.hidden_size if layer.experts is not None else 0
    mixers = sum(2.5 * mixer_width(mixer) for mixer in layer.mixers)
    return _HALF * (hidden + mixers + _ffn_width(layer) + dispatched)


@lru_cache(maxsize=256)
def layers_token_bytes(model: LanguageModel) -> tuple[float, float]:
    """(of all layers together, of the largest)."""
    each = [layer_token_bytes(model, layer) for layer in model.layers]
    return sum(each), max(each, default=0.0)


def _heads(layer: Layer) -> int:
    found = [mixer.query_heads for mixer in layer.mixers if isinstance(mixer, Attention | LatentAttention)]
    return sum(found)


def scores_bytes(job: FinetuneJob, layers: int | None = None) -> float:
    """Scores that eager attention keeps, of the widest layer or of all; flash attention keeps none."""
    if job.attention != "eager":
        return 0.0
    heads = [_heads(layer) for layer in job.model.layers]
    count = max(heads, default=0) if layers == 1 else sum(heads)
    each = coefficient(job.stack, "score_bytes_wide" if is_wide(job) else "score_bytes")
    return count * job.sequence_tokens**2 * job.micro_batch * each


def is_wide(job: FinetuneJob) -> bool:
    """Hidden states in FP32: a k-bit model whose other parameters were raised to FP32."""
    return job.method == "qlora" and job.kbit_rest_bytes > _HALF


def checkpoint_bytes(job: FinetuneJob) -> float:
    """Inputs of every layer, which checkpointing keeps; without it they are part of what the layers keep."""
    if not job.checkpointing:
        return 0.0
    width = 4 if is_wide(job) else _HALF
    return len(job.model.layers) * job.model.hidden_size * width * job.micro_tokens


def backward_bytes(job: FinetuneJob) -> float:
    """What layers keep at the worst moment of the backward pass: one layer with checkpointing, else all of them."""
    everything, largest = layers_token_bytes(job.model)
    if job.checkpointing:
        scale = coefficient(job.stack, "recompute_wide" if is_wide(job) else "recompute")
        return largest * job.micro_tokens * scale + scores_bytes(job, 1)
    full = coefficient(job.stack, "full_inputs") if job.method == "full" else 1.0
    return everything * job.micro_tokens * coefficient(job.stack, "kept") * full + scores_bytes(job)


def loss_bytes(job: FinetuneJob) -> float:
    """Logits with what the loss makes of them."""
    facts = load_toml("fitserve.training", "facts.toml")["physics"]["loss"]
    if job.loss == "fused":
        return float(job.micro_tokens * job.model.hidden_size * facts["fused_hidden_bytes"])
    each = facts["wide_bytes"] if is_wide(job) else facts["pure_bytes" if job.precision == "pure" else "half_bytes"]
    whole = job.micro_tokens * job.model.vocab_size * each * coefficient(job.stack, "loss")
    return float(whole / facts["chunks"] if job.loss == "chunked" else whole)
