"""Which matrices get adapters, and how many weights those have."""

from functools import lru_cache

from fitserve.models.types import LanguageModel, TensorGroup

_ATTENTION = ("attn_q.weight", "attn_k.weight", "attn_v.weight", "attn_qkv.weight", "attn_output.weight")
_LATENT = (
    "attn_q_a.weight",
    "attn_q_b.weight",
    "attn_kv_a_mqa.weight",
    "attn_kv_b.weight",
    "attn_k_b.weight",
    "attn_v_b.weight",
)
_MLP = ("ffn_gate.weight", "ffn_up.weight", "ffn_down.weight", "ffn_gate_up.weight")
_SHARED = ("ffn_gate_shexp.weight", "ffn_up_shexp.weight", "ffn_down_shexp.weight")
_STATE = ("ssm_in.weight", "ssm_out.weight", "attn_gate.weight")
_EXPERTS = ("ffn_gate_exps.weight", "ffn_up_exps.weight", "ffn_down_exps.weight", "ffn_gate_up_exps.weight")

SETS = {
    "attention": (*_ATTENTION, *_LATENT),
    "query-value": ("attn_q.weight", "attn_v.weight", "attn_qkv.weight"),
    "linear": (*_ATTENTION, *_LATENT, "ffn_gate.weight", "ffn_up.weight"),
    "all-linear": (*_ATTENTION, *_LATENT, *_MLP, *_SHARED, *_STATE),
    "all-linear-and-experts": (*_ATTENTION, *_LATENT, *_MLP, *_SHARED, *_STATE, *_EXPERTS),
}
"""Named sets of targets. `all-linear` leaves routed experts frozen, as trainers do unless their tensors are named."""

MODULES = {
    "attn_q.weight": "q_proj", "attn_k.weight": "k_proj", "attn_v.weight": "v_proj", "attn_output.weight": "o_proj",
    "attn_qkv.weight": "qkv_proj", "attn_q_a.weight": "q_a_proj", "attn_q_b.weight": "q_b_proj",
    "attn_kv_a_mqa.weight": "kv_a_proj_with_mqa", "attn_kv_b.weight": "kv_b_proj", "ffn_gate.weight": "gate_proj",
    "ffn_up.weight": "up_proj", "ffn_down.weight": "down_proj", "ffn_gate_up.weight": "gate_up_proj",
    "ffn_gate_shexp.weight": "shared_expert.gate_proj", "ffn_up_shexp.weight": "shared_expert.up_proj",
    "ffn_down_shexp.weight": "shared_expert.down_proj", "ssm_in.weight": "in_proj", "ssm_out.weight": "out_proj",
}  # fmt: skip
"""Module names of transformers by role, for the files of trainers."""


@lru_cache(maxsize=256)
def target_roles(model: LanguageModel, names: tuple[str, ...]) -> tuple[str, ...]:
    """Roles of the model that a set's name or module names (`q_proj`) mean; empty when the model has none of them."""
    wanted: set[str] = set()
    by_module = {module: role for role, module in MODULES.items()}
    for name in names:
        wanted |= set(SETS.get(name, (by_module.get(name, name),)))
    return tuple(dict.fromkeys(g.role for g in model.tensors if g.part == "text" and g.role in wanted))


def adapter_params(model: LanguageModel, roles: tuple[str, ...], rank: int, has_magnitudes: bool = False) -> int:
    """Trained weights: rank x (inputs + outputs) of every target, arXiv:2106.09685.

    DoRA adds one an output (arXiv:2402.09353).
    """
    return sum(_of_group(group, rank, has_magnitudes) for group in model.tensors if group.role in roles)


def _of_group(group: TensorGroup, rank: int, has_magnitudes: bool) -> int:
    inputs, outputs = group.shape[0], group.shape[1]
    copies = group.shape[2] if len(group.shape) > 2 else 1
    each = rank * (inputs + outputs) + (outputs if has_magnitudes else 0)
    return each * copies * group.count


def module_names(roles: tuple[str, ...]) -> tuple[str, ...]:
    """The names that trainers know the targets by; a shared expert's are those of the plain block."""
    return tuple(dict.fromkeys(MODULES[role].rpartition(".")[2] for role in roles if role in MODULES))
