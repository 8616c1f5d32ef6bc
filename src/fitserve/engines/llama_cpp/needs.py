"""What a laid-out server needs in bytes on every device and in RAM, for any context: the plain sums behind the budget."""

from collections import Counter
from dataclasses import dataclass

from fitserve.engines.contract import Deployment
from fitserve.engines.llama_cpp.compute import compute_bytes, host_compute_bytes
from fitserve.engines.llama_cpp.kv_cache import kind_caches, layer_kinds, mixer_state_bytes
from fitserve.engines.llama_cpp.placement import HOST, Placement
from fitserve.engines.llama_cpp.rules import feature
from fitserve.engines.llama_cpp.settings import ServerSettings
from fitserve.engines.llama_cpp.weights import spread_weights

_FLOAT_BYTES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Laid:
    """A deployment with its settings and the device of every layer."""

    settings: ServerSettings
    placement: Placement
    limited_outputs: bool
    latent_cache: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """Bytes at one place: a device, or RAM."""

    weights: int
    kv_cache: int
    states: int
    compute: int
    runtime: int = 0
    output: int = 0

    @property
    def total(self) -> int:
        """Everything together."""
        return self.weights + self.kv_cache + self.states + self.compute + self.runtime + self.output


class Needs:
    """Needs of one layout; `at` gives them for a context."""

    def __init__(self, deployment: Deployment, laid: Laid) -> None:
        self._deployment = deployment
        self._laid = laid
        self._weights = spread_weights(deployment.model, deployment.weight_format, laid.placement)
        self._layers: dict[int, Counter[int]] = {}
        """How many layers of each kind stand at each place."""
        for kind, device in zip(layer_kinds(deployment.model)[1], laid.placement.layers, strict=True):
            self._layers.setdefault(device, Counter())[kind] += 1
        self.device_count = deployment.device_count if deployment.machine.devices else 0
        self._used = len({*self._layers, laid.placement.output} - {HOST})
        self._runtime = int(feature("device_runtime_bytes"))

    def at(self, settings: ServerSettings) -> tuple[list[Need], Need]:
        """Needs of the devices in order, and of RAM."""
        model, laid = self._deployment.model, self._laid
        caches = kind_caches(model, settings, laid.latent_cache)
        on_gpu = 0
        if self._used:
            on_gpu = compute_bytes(model, settings, laid.limited_outputs, on_gpu=True, devices=self._used)
            on_host = host_compute_bytes(model, settings, laid.limited_outputs, self._used)
        else:
            on_host = compute_bytes(model, settings, laid.limited_outputs)
        devices = [self._device(device, settings, caches, on_gpu) for device in range(self.device_count)]
        host = Need(
            weights=self._weights.on(HOST),
            kv_cache=self._cache(HOST, caches),
            states=self._states(HOST, settings),
            compute=on_host,
            output=settings.slots * model.vocab_size * _FLOAT_BYTES,
        )
        return devices, host

    def _device(self, device: int, settings: ServerSettings, caches: tuple[int, ...], compute: int) -> Need:
        is_busy = device in self._layers or self._laid.placement.output == device
        has_context = self._deployment.machine.devices[device].vendor != "apple"
        return Need(
            weights=self._weights.on(device),
            kv_cache=self._cache(device, caches),
            states=self._states(device, settings),
            compute=compute if is_busy else 0,
            runtime=self._runtime if is_busy and has_context else 0,
        )

    def _cache(self, place: int, caches: tuple[int, ...]) -> int:
        return sum(caches[kind] * count for kind, count in self._layers.get(place, Counter()).items())

    def _states(self, place: int, settings: ServerSettings) -> int:
        kinds, _ = layer_kinds(self._deployment.model)
        return sum(
            mixer_state_bytes(kinds[kind], settings.slots) * count
            for kind, count in self._layers.get(place, Counter()).items()
        )

    @property
    def weights_bytes(self) -> int:
        """Weights at all places together."""
        return sum(self._weights.devices.values())
