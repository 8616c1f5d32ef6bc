"""What a vLLM rank holds after loading: weights of its share, and the tables and copies that loading adds."""

from collections.abc import Sequence

from fitserve.engines.vllm.rules import feature
from fitserve.footprint.weights import Sharding, weight_bytes
from fitserve.foundation.units import ceil_div, round_up
from fitserve.models.formats import WeightFormat
from fitserve.models.types import LanguageModel, LatentAttention

_MXFP4_WIDTH_TILE = 128  # fused_moe/oracle/mxfp4.py: Marlin and Triton pad the expert width ...
_MXFP4_HIDDEN_TILE = 256  # ... and the hidden size


def loaded_bytes(model: LanguageModel, weight_format: WeightFormat, tp: int, ep: int, stage: range, pp: int) -> int:
    """Bytes of one rank after loading (`Model loading took` in the log)."""
    sharding = Sharding(
        tp=tp,
        ep=ep,
        layers=None if pp == 1 else stage,
        first_stage=stage.start == 0,
        last_stage=stage.stop == len(model.layers),
    )
    size = weight_bytes(model, weight_format, sharding)
    return (
        size
        + rotary_bytes(model)
        + _absorbed_bytes(model, tp, stage)
        + _padding_bytes(model, weight_format, tp, ep, stage)
    )


def rotary_bytes(model: LanguageModel) -> int:
    """Cosine and sine of every position up to the model's own limit, whatever length is served.

    vllm/model_executor/layers/rotary_embedding/base.py: [max_position_embeddings, rotary_dim] in the model's type,
    shared by all layers. For Llama 4 with its ten million positions this is 2.5 GiB.
    """
    tables = 2 if model.architecture in feature("second_rotary_table") else 1
    return tables * model.max_context_tokens * model.rotary_dim * 2


def _absorbed_bytes(model: LanguageModel, tp: int, stage: range) -> int:
    """Latent attention keeps W_UK and W_UV beside kv_b_proj (mla_attention.py process_weights_after_loading)."""
    total = 0
    for index in stage:
        for mixer in model.layers[index].mixers:
            if isinstance(mixer, LatentAttention):
                heads = ceil_div(mixer.query_heads, tp)
                total += heads * mixer.kv_lora_rank * (mixer.nope_dim + mixer.value_dim) * 2
    return total


def _padding_bytes(model: LanguageModel, weight_format: WeightFormat, tp: int, ep: int, stage: range) -> int:
    """MXFP4 expert kernels pad the width of a rank's share and the hidden size to whole tiles."""
    if weight_format.name != "mxfp4":
        return 0
    total = 0.0
    for index in stage:
        moe = model.layers[index].experts
        if moe is None:
            continue
        hidden = moe.latent_width or model.hidden_size
        width = moe.width if ep > 1 else ceil_div(moe.width, tp)
        count = ceil_div(moe.count, ep)
        padded = round_up(width, _MXFP4_WIDTH_TILE) * round_up(hidden, _MXFP4_HIDDEN_TILE)
        total += count * (padded - width * hidden) * (3 if moe.gated else 2) * weight_format.effective_bits() / 8
    return int(total)


def first_moe(model: LanguageModel, layers: Sequence[int]) -> tuple[int, int] | None:
    """(experts per token, expert width) of the first expert layer among these."""
    for index in layers:
        moe = model.layers[index].experts
        if moe is not None:
            return moe.used, moe.width
    return None
