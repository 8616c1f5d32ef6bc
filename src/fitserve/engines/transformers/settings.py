"""How a deployment runs: which format its weights have once loaded, whether requests are batched, where layers live."""

from fitserve.engines.contract import Deployment
from fitserve.engines.option_lists import option_names
from fitserve.engines.releases import at_least
from fitserve.engines.transformers.placement import Split, blocks_of, spread, with_layers_in_ram
from fitserve.engines.transformers.rules import PACKAGE, RELEASES, feature
from fitserve.hardware.types import Accelerator
from fitserve.models.formats import WeightFormat, parse_format
from fitserve.models.types import Attention


def used_devices(deployment: Deployment) -> tuple[Accelerator, ...]:
    """Accelerators of the deployment; none on a machine without."""
    return deployment.machine.devices[: deployment.device_count]


def loaded_format(deployment: Deployment) -> WeightFormat:
    """The format in memory: block FP8 and MXFP4 become bfloat16 where the device has no kernel for them."""
    name = deployment.weight_format.name
    floor = feature("dequantized_below").get(name)
    if floor is None:
        return deployment.weight_format
    devices = used_devices(deployment)
    native = devices and all(d.vendor != "nvidia" or (d.capability_number or 0) >= floor for d in devices)
    native = native and not any(d.vendor == "apple" for d in devices)
    return deployment.weight_format if native else parse_format("bf16")


def keeps_latent(version: str) -> bool:
    """Whether latent attention caches its compressed vector."""
    return at_least(version, feature("latent_cache_from"))


def knows(deployment: Deployment, name: str) -> bool:
    """Whether `transformers serve` of this release has an option."""
    return name in option_names(PACKAGE, RELEASES.nearest(deployment.engine_version)) and has_server(deployment)


def has_server(deployment: Deployment) -> bool:
    """Whether this release is new enough for `transformers serve`; older ones run the script."""
    return at_least(deployment.engine_version, RELEASES.versions[0])


def runs_script(deployment: Deployment) -> bool:
    """Whether the command is the script: layers in RAM need a max_memory, which the server has no option for."""
    return bool(deployment.offload_layers) or not has_server(deployment)


def is_batched(deployment: Deployment) -> bool:
    """Whether the server batches requests: a paged cache on one GPU, for plain attention with or without windows."""
    if deployment.concurrent_requests < 2 or runs_script(deployment) or len(used_devices(deployment)) != 1:
        return False
    plain = all(
        isinstance(mixer, Attention) and not mixer.chunk_tokens and not mixer.crosses_to_vision
        for layer in deployment.model.layers
        for mixer in layer.mixers
    )
    gpu = used_devices(deployment)[0].vendor in {"nvidia", "amd"}
    return plain and gpu and not deployment.model.is_multimodal and knows(deployment, "--cb-max-memory-percent")


def split_of(deployment: Deployment) -> Split:
    """Where every block goes. One device holds everything, unless layers are to stay in RAM."""
    blocks = blocks_of(deployment.model, loaded_format(deployment))
    devices = used_devices(deployment)
    if not devices or deployment.offload_layers:
        count = deployment.offload_layers if devices and deployment.offload_layers else len(deployment.model.layers) + 1
        return with_layers_in_ram(blocks, count)
    if len(devices) == 1:
        return Split(blocks=blocks, places=(0,) * len(blocks), max_memory=(devices[0].engine_visible_bytes,))
    free = [max(0, device.engine_visible_bytes - feature("runtime_bytes")) for device in devices]
    return spread(blocks, free, quantizes=deployment.weight_format.family == "bnb" and deployment.repository is None)
