"""TensorRT-LLM's memory budget (PyTorch backend): a share of what is free after loading and a trial pass is KV blocks.

tensorrt_llm/_torch/pyexecutor/_util.py: the server loads, runs a forward pass of max_num_tokens, and gives
free_gpu_memory_fraction of what then remains to the paged KV cache. CUDA graphs are captured in the remainder.
"""

from collections.abc import Callable

from fitserve.engines.budgets import Rank, devices_of, shared_pool
from fitserve.engines.contract import Deployment, MemoryBudget, MemoryItem
from fitserve.engines.tensorrt_llm.rules import FACTS, loaded_model
from fitserve.footprint.kv_cache import BYTES_PER_ELEMENT, state_elements
from fitserve.footprint.ranks import rank_request_bytes, rank_state_bytes, rank_token_bytes, stage_layers
from fitserve.footprint.weights import Sharding, weight_bytes
from fitserve.foundation.errors import InputError
from fitserve.foundation.intervals import Basis, Interval
from fitserve.foundation.units import ceil_div, round_up
from fitserve.models.types import LanguageModel

SHARE_OPTIONS = ("kv_cache_free_gpu_memory_fraction", "free_gpu_memory_fraction")
_SHAPES = Basis("exact", "shapes of the model")
_ESTIMATED = Basis("estimated", "shapes of one layer times max_num_tokens; not calibrated")
_STATES = Basis("measured", "https://github.com/NVIDIA/TensorRT-LLM/issues/8642: 135 GiB for 2048 requests")
_RUNTIME = Basis("estimated", "runtime_bytes in engines/tensorrt_llm/facts.toml")
_NVFP4_BYTES = 0.5625  # 4 bits and one 8-bit scale per 16
_HIDDEN_COPIES = 4  # residual, norm output, attention input and output
_WIDTH_COPIES = 3  # gate, up, and their product
_BYTES = 2
_ROTARY_BYTES = 4


def budget(deployment: Deployment) -> MemoryBudget:
    """Memory on every device."""
    layers = stage_layers(len(deployment.model.layers), deployment.pp)
    stages = [_rank(deployment, stage) for stage in layers]
    return shared_pool(deployment, stages, kv_elements(deployment)[0], batch_limit(deployment))


def free_share(deployment: Deployment) -> float:
    """Share of the free memory that becomes KV blocks. Raises InputError for a value that is none."""
    for name in SHARE_OPTIONS:
        if name in deployment.options:
            return _number(deployment, name, 0.01, 0.999)
    return float(FACTS.value("free_share"))


def _number(deployment: Deployment, name: str, least: float, most: float) -> float:
    text = deployment.options[name]
    try:
        value = float(text)
    except ValueError as error:
        raise InputError.of("option_wrong", option=f"--{name}", value=text) from error
    if not least <= value <= most:
        raise InputError.of("option_wrong", option=f"--{name}", value=text)
    return value


def batch_limit(deployment: Deployment) -> int:
    """max_batch_size: what was asked for; recurrent models get a smaller one than the default."""
    if deployment.max_num_seqs is not None:
        return deployment.max_num_seqs
    if "max_batch_size" in deployment.options:
        return int(_number(deployment, "max_batch_size", 1, 2**20))
    if rank_state_bytes(deployment.model):
        return max(int(FACTS.value("state_batch")), deployment.concurrent_requests)
    return int(FACTS.value("batch_limits")[1])


def batch_tokens(deployment: Deployment) -> int:
    """max_num_tokens."""
    if "max_num_tokens" in deployment.options:
        return int(_number(deployment, "max_num_tokens", 1, 2**24))
    return int(FACTS.value("batch_limits")[0])


def kv_elements(deployment: Deployment) -> tuple[str, float]:
    """(format, bytes of an element): `auto` takes what the loaded checkpoint names, else the model's type."""
    asked, checkpoint = deployment.kv_format, loaded_model(deployment).checkpoint
    if asked == "auto" and checkpoint is not None and checkpoint.kv_format == "fp8":
        asked = "fp8"
    if asked in {"auto", "bf16", "f16"}:
        return ("bf16" if deployment.model.dtype == "bf16" else "f16"), 2.0
    return asked, _NVFP4_BYTES if asked == "nvfp4" else BYTES_PER_ELEMENT[asked]


def _rank(deployment: Deployment, layers: range) -> Rank:
    model, tp = deployment.model, deployment.tp
    sharding = Sharding(
        tp=tp, ep=deployment.ep, layers=None if deployment.pp == 1 else layers,
        first_stage=layers.start == 0, last_stage=layers.stop == len(model.layers),
    )  # fmt: skip
    loaded = weight_bytes(model, deployment.weight_format, sharding) + rotary_bytes(model)
    several = int(tp * deployment.pp > 1)
    runtime, spread = FACTS.value("runtime_bytes")[several], FACTS.row("runtime_bytes")["spread"][several]
    peak = activation_bytes(model, tp, layers, batch_tokens(deployment))
    states = state_bytes(model, tp, layers) * batch_limit(deployment)
    items = (
        MemoryItem(code="runtime", bytes=Interval(runtime - spread, runtime, runtime + spread), basis=_RUNTIME),
        MemoryItem(code="activations", bytes=Interval(peak / 3, peak, peak * 3), basis=_ESTIMATED),
        MemoryItem(code="recurrent_state", bytes=Interval(states, states, states * 2), basis=_STATES),
    )
    fixed = loaded + runtime + peak + states
    visible = min(device.engine_visible_bytes for device in devices_of(deployment))
    element = kv_elements(deployment)[1]
    return Rank(
        weights=MemoryItem(code="weights", bytes=Interval.around(loaded, 0.02, 0.05), basis=_SHAPES),
        items=items,
        limit_bytes=min(visible, round(fixed + free_share(deployment) * (visible - fixed))),
        request_bytes=_request(deployment, layers),
        token_bytes=rank_token_bytes(model, element, tp, layers),
    )


def state_bytes(model: LanguageModel, tp: int, layers: range) -> int:
    """Recurrent and convolution state of one request on one rank, in 16 bit even where the config says float32."""
    total = 0
    for index in layers:
        for mixer in model.layers[index].mixers:
            state = state_elements(mixer)
            if state is not None:
                total += ceil_div((state.convolution + state.recurrent) * _BYTES, tp)
    return total


def rotary_bytes(model: LanguageModel) -> int:
    """Cosine and sine of every position up to the model's own limit, in float32, shared by all layers.

    tensorrt_llm/_torch/attention_backend/interface.py RopeParams.create_rope_const_params.
    """
    return model.max_context_tokens * model.rotary_dim * _ROTARY_BYTES


def _request(deployment: Deployment, layers: range) -> Callable[[int], int]:
    """Whole blocks of every layer: without max_attention_window in the configuration file no layer drops tokens."""
    element, block = kv_elements(deployment)[1], FACTS.value("block_tokens")

    def needed(tokens: int) -> int:
        whole = round_up(tokens, block)
        return rank_request_bytes(deployment.model, whole, element, deployment.tp, layers, keeps_windows=False)

    return needed


def activation_bytes(model: LanguageModel, tp: int, layers: range, tokens: int) -> int:
    """Peak of a forward pass of so many tokens, from the widest layer of a stage."""
    widest = 0
    for index in layers:
        layer = model.layers[index]
        width = ceil_div(layer.dense.width, tp) if layer.dense else 0
        if layer.experts:
            routed = layer.experts.used * (ceil_div(layer.experts.width, tp) + model.hidden_size // _WIDTH_COPIES)
            width = max(width, routed + ceil_div(layer.experts.shared_width, tp))
        widest = max(widest, width)
    return tokens * _BYTES * (_HIDDEN_COPIES * model.hidden_size + _WIDTH_COPIES * widest)
