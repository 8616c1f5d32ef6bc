"""Bytes of weights in the formats of GPU engines, whole and per rank.

Splits are those of Megatron-style tensor parallelism (arXiv 1909.08053): columns of the first matrix, rows of the
second; KV heads are copied once there are fewer of them than ranks; norms, routers and low-rank inputs are copied.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from fitserve.foundation.units import ceil_div
from fitserve.models.formats import WeightFormat, parse_format, usually_kept
from fitserve.models.types import Attention, LanguageModel, TensorGroup

_VOCABULARY = {"token_embd.weight", "output.weight", "per_layer_token_embd.weight"}
_COPIED = (
    "attn_q_a.weight", "attn_kv_a_mqa.weight", "attn_kv.weight", "ffn_gate_inp", "exp_probs_b", "indexer", "norm", "ffn_latent",
    "altup", "laurel", "hc_", "compressor", "ape", "rope_freqs", "rope_factors", "tid2eid", "inp_gate", "proj.weight",
    "per_layer", "xielu", "layer_output_scale", "scalar", "ssm_f_a", "ssm_g_a", "score",
)  # fmt: skip
_LINEAR = re.compile(
    r"(attn_(q|k|v|qkv|output|q_a|q_b|kv_a_mqa|kv|k_b|v_b|gate|output_a|output_b)|ffn_(gate|up|down)(_exps|_shexp)?"
    r"|ffn_gate_up_exps|ffn_latent_(up|down)|ssm_(in|out|x|dt|f_a|f_b|g_a|g_b|g)|shortconv\.(in|out)_proj|indexer\.attn_(q_b|k)"
    r"|inp_gate|proj|laurel_[lr])\.weight"
)
_PLAIN_BYTES = {"f32": 4, "bf16": 2, "f16": 2}
_ROUTER_BYTES_F32 = ("exp_probs_b",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharding:
    """How a model is spread: tensor parallel ranks, expert parallel ranks, and the layers of this pipeline stage."""

    tp: int = 1
    ep: int = 1
    layers: range | None = None
    """Layers of the stage; None is the whole model."""
    first_stage: bool = True
    last_stage: bool = True


WHOLE = Sharding()


def weight_bytes(
    model: LanguageModel,
    weight_format: WeightFormat,
    sharding: Sharding = WHOLE,
    parts: tuple[str, ...] = ("text", "vision"),
) -> int:
    """Bytes of the weights of one rank; with the default sharding, of the whole model in these parts."""
    return round(_shape_bytes(model, weight_format, sharding, parts) * _stored_share(model, weight_format))


@lru_cache(maxsize=1024)
def _stored_share(model: LanguageModel, weight_format: WeightFormat) -> float:
    """Bytes of the weight files over the bytes that the shapes give: 1 unless headers were read and tell otherwise."""
    own = model.checkpoint.weight_format if model.checkpoint else model.dtype
    if model.stored_weight_bytes is None or weight_format.name != own or weight_format.family == "gguf":
        return 1.0
    return model.stored_weight_bytes / (_shape_bytes(model, weight_format, WHOLE, ("text", "vision", "mtp")) or 1)


def _shape_bytes(model: LanguageModel, weight_format: WeightFormat, sharding: Sharding, parts: tuple[str, ...]) -> int:
    plain = _PLAIN_BYTES.get(weight_format.name) or _PLAIN_BYTES[model.dtype if model.dtype != "f32" else "bf16"]
    kept = kept_modules(model, weight_format)
    total = 0
    for group in model.tensors:
        if group.part not in parts or group.role.startswith("gguf:"):
            continue
        count = _count_in_stage(group, sharding)
        if count:
            size = tensor_bytes(
                group, weight_format, plain, kept, model.checkpoint.group_size if model.checkpoint else None
            )
            total += ceil_div(size * count, shard_count(group.role, model, sharding))
    return total


def kept_modules(model: LanguageModel, weight_format: WeightFormat) -> tuple[str, ...]:
    """Modules that stay in 16 bit: what the checkpoint says, else what the usual recipe keeps."""
    if (
        model.checkpoint is not None
        and model.checkpoint.kept_modules
        and model.checkpoint.weight_format == weight_format.name
    ):
        return model.checkpoint.kept_modules
    return usually_kept(model.architecture, weight_format.name)


def _count_in_stage(group: TensorGroup, sharding: Sharding) -> int:
    if sharding.layers is None:
        return group.count
    if group.layers:
        return sum(1 for layer in group.layers if layer in sharding.layers)
    if group.role in {"output.weight", "output_norm.weight", "output.bias"}:
        return int(sharding.last_stage)
    return int(sharding.first_stage)


def tensor_bytes(
    group: TensorGroup,
    weight_format: WeightFormat,
    plain_bytes: int,
    kept: tuple[str, ...],
    group_size: int | None = None,
) -> int:
    """Bytes of one tensor of a group in this format."""
    if group.stored_bytes is not None:
        return group.stored_bytes
    if any(name in group.role for name in _ROUTER_BYTES_F32):
        return group.elements_each * 4
    if not quantizes(group, weight_format, kept):
        return group.elements_each * plain_bytes
    rows = group.elements_each // group.shape[0]
    return weight_format.matrix_bytes(group.shape[0], rows, group_size)


def quantizes(group: TensorGroup, weight_format: WeightFormat, kept: tuple[str, ...]) -> bool:
    """Whether this format stores a tensor in fewer bits."""
    if weight_format.family == "plain" or group.part != "text":
        return False
    if weight_format.whole_model:
        return len(group.shape) >= 2
    if group.role == "output.weight":
        return weight_format.family in {"exl2", "exl3"}
    if not _LINEAR.fullmatch(group.role):
        return False
    if weight_format.name == "mxfp4" and not group.role.endswith(("_exps.weight",)) and not kept:
        return True
    return not any(_keeps(pattern, group.role) for pattern in kept)


_PROJECTIONS = {"q": "attn_q.", "k": "attn_k.", "v": "attn_v.", "o": "attn_output.", "qkv": "attn_qkv."}


@lru_cache(maxsize=4096)
def _keeps(pattern: str, role: str) -> bool:
    """Whether a module pattern of a checkpoint names the tensors of this role."""
    text = pattern.lower()
    if re.search(r"layers\.\d+\*?$|mtp|vision|visual|multi_modal|mm_projector|embed", text):
        return False
    expert, shared = "_exps" in role, "_shexp" in role
    if "shared_expert" in text:
        return shared
    if "linear_attn" in text or "mamba" in text or "mixer" in text:
        return role.startswith("ssm_") or role in {"attn_qkv.weight", "attn_gate.weight"}
    if "self_attn" in text or re.search(r"\battention\b|attn\*?$", text):
        part = re.search(r"self_attn\.(\w+)_proj", text)
        return role.startswith(_PROJECTIONS.get(part[1], f"attn_{part[1]}") if part else "attn_")
    if "experts" in text:
        return expert
    if re.search(r"mlp[\\.]*\(|mlp\.(gate|up|down)_proj", text):
        return role.startswith("ffn_") and not expert and not shared
    return False


def shard_count(role: str, model: LanguageModel, sharding: Sharding) -> int:
    """Into how many different pieces a tensor of this role is cut; 1 means every rank holds a copy."""
    tp = sharding.tp
    if "_exps" in role:
        return max(tp, sharding.ep)
    if tp == 1:
        return 1
    if role in _VOCABULARY and "per_layer" not in role:
        return tp
    if role.startswith("vision"):
        return tp
    if role.startswith(("attn_k.", "attn_v.")):
        return min(tp, _kv_heads(model))
    if any(name in role for name in _COPIED) and not role.startswith(("ffn_gate_up", "attn_output")):
        return 1
    if role.endswith(".bias") and role.startswith(("attn_output", "ffn_down")):
        return 1
    return tp


def _kv_heads(model: LanguageModel) -> int:
    return min((m.kv_heads for layer in model.layers for m in layer.mixers if isinstance(m, Attention)), default=1)


def checkpoint_bytes(model: LanguageModel) -> int:
    """Bytes that a download of the model's own repository takes, all parts included."""
    if model.stored_weight_bytes is not None:
        return model.stored_weight_bytes
    name = model.checkpoint.weight_format if model.checkpoint else model.dtype
    return weight_bytes(model, parse_format(name), parts=("text", "vision", "mtp"))
