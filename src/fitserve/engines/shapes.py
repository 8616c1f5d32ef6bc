"""What tensor, expert and pipeline parallelism ask of a model's shapes; alike for engines with Megatron-style layers."""

from collections.abc import Iterator

from fitserve.engines.contract import Deployment
from fitserve.engines.offers import tensor_splits
from fitserve.foundation.reasons import Reason, not_supported
from fitserve.hardware.types import Machine
from fitserve.models.formats import WeightFormat, parse_format
from fitserve.models.types import Attention, LanguageModel

_GROUPED = {"awq-4bit", "gptq-4bit", "gptq-8bit", "w4a16", "autoround-int4"}
_STRICTEST = parse_format("fp8-block")
_FP8_BLOCK = 128  # rows and columns that share a scale


def clean_splits(model: LanguageModel, machine: Machine) -> tuple[tuple[int, int], ...]:
    """(tensor, pipeline) sizes: stages only for a count that tensor parallelism cannot divide in every format.

    Within one machine these engines are started with tensor parallelism; stages are for what it cannot cut.
    """
    offered = tensor_splits(model, machine)
    clean = {tp for tp, pp in offered if pp == 1 and not list(_widths(model, _STRICTEST, tp, 1))}
    return tuple((tp, pp) for tp, pp in offered if pp == 1 or pp not in clean)


def shape_reasons(deployment: Deployment) -> Iterator[Reason]:
    """Heads, widths, groups and experts that cannot be divided as asked."""
    model, tp = deployment.model, deployment.tp
    if deployment.pp > len(model.layers):
        yield not_supported("more_stages_than_layers", pp=deployment.pp, layers=len(model.layers))
    if tp > 1 or deployment.ep > 1:
        yield from _heads(model, tp)
        yield from _widths(model, deployment.weight_format, tp, deployment.ep)


def _heads(model: LanguageModel, tp: int) -> Iterator[Reason]:
    for layer in model.layers:
        for mixer in layer.mixers:
            heads = getattr(mixer, "query_heads", None) or getattr(mixer, "value_heads", None)
            if heads and heads % tp:
                yield not_supported("heads_not_divisible", heads=heads, tp=tp)
                return
            if isinstance(mixer, Attention) and mixer.kv_heads % tp and tp % mixer.kv_heads:
                yield not_supported("kv_heads_not_divisible", heads=mixer.kv_heads, tp=tp)
                return


def _widths(model: LanguageModel, weight_format: WeightFormat, tp: int, ep: int) -> Iterator[Reason]:
    group = model.checkpoint.group_size if model.checkpoint and model.checkpoint.group_size else weight_format.group
    widths = {layer.dense.width for layer in model.layers if layer.dense}
    experts = next((layer.experts for layer in model.layers if layer.experts), None)
    if experts is not None and ep == 1:
        widths.add(experts.width)
    elif experts is not None and experts.count % ep:
        yield not_supported("experts_not_divisible", experts=experts.count, ep=ep)
    for width in sorted(widths):
        if width % tp:
            yield not_supported("width_not_divisible", width=width, tp=tp)
            continue
        unit = group if weight_format.name in _GROUPED else _FP8_BLOCK if weight_format.name == "fp8-block" else None
        if unit and (width // tp) % unit:
            yield not_supported("group_not_divisible", width=width, tp=tp, group=unit, format=weight_format.name)
