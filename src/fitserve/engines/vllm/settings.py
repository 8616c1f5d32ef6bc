"""The settings that a vLLM server ends up with: what the deployment asks for, defaults of the release for the rest."""

from collections.abc import Mapping
from dataclasses import dataclass

from fitserve.engines.contract import Deployment
from fitserve.engines.vllm.activations import BatchLimits
from fitserve.engines.vllm.rules import batch_defaults, default_utilization, feature
from fitserve.footprint.kv_cache import BYTES_PER_ELEMENT
from fitserve.foundation.errors import InputError
from fitserve.hardware.types import Accelerator

CPU = Accelerator(id="cpu", vendor="cpu", name="CPU", memory_bytes=0)
"""Stands for the processor when a CPU server's KV pool is asked about: its size must be given."""
_NVFP4_BYTES = 0.5625  # nvfp4 cache: 4 bits and one 8-bit scale per 16


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Resolved options of one server."""

    utilization: float
    limits: BatchLimits
    sequences_asked: int | None
    eager: bool
    hybrid_manager: bool
    prefix_caching: bool
    async_scheduling: bool
    block_tokens: int | None
    pool_bytes: int | None
    kv_format: str
    kv_element_bytes: float
    speculative_tokens: int

    @property
    def in_flight_tokens(self) -> int:
        """Tokens that may be under way: one batch, two with asynchronous scheduling."""
        return self.limits.batched_tokens * (2 if self.async_scheduling else 1)


def _flag(options: Mapping[str, str], name: str, default: bool) -> bool:
    if f"no-{name}" in options or f"disable-{name}" in options:
        return False
    value = options.get(name)
    return default if value is None else value.strip().lower() not in {"false", "0", "no", "off"}


def _number(
    options: Mapping[str, str], name: str, default: float | None, minimum: float, maximum: float
) -> float | None:
    text = options.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError as error:
        raise InputError.of("option_wrong", option=f"--{name}", value=text) from error
    if not minimum <= value <= maximum:
        raise InputError.of("option_wrong", option=f"--{name}", value=text)
    return value


def resolve(deployment: Deployment) -> ServerSettings:
    """Settings of the server; raises InputError for an option value that is none."""
    options, version = deployment.options, deployment.engine_version
    device = ranks(deployment)[0]
    tokens, sequences = batch_defaults(version, device)
    asked = deployment.max_num_seqs
    if asked is None and (given := _number(options, "max-num-seqs", None, 1, 2**20)) is not None:
        asked = int(given)
    sequences = asked or sequences
    given_tokens = _number(options, "max-num-batched-tokens", None, 1, 2**24)
    tokens = int(given_tokens) if given_tokens else max(sequences, min(tokens, sequences * deployment.context_tokens))
    block = _number(options, "block-size", None, 1, 2**16)
    pool = _number(options, "kv-cache-memory-bytes", None, 1, 2**60)
    kv_format, element_bytes = kv_elements(deployment)
    utilization = _number(options, "gpu-memory-utilization", default_utilization(version), 0.01, 1.0)
    return ServerSettings(
        utilization=float(utilization or 0),
        limits=BatchLimits(batched_tokens=tokens, sequences=sequences),
        sequences_asked=asked,
        eager=_flag(options, "enforce-eager", default=False),
        hybrid_manager=_flag(options, "hybrid-kv-cache-manager", default=True),
        prefix_caching=_flag(options, "enable-prefix-caching", default=True)
        and "no-enable-prefix-caching" not in options,
        async_scheduling=_flag(options, "async-scheduling", default=True),
        block_tokens=int(block) if block else None,
        pool_bytes=int(pool) if pool else None,
        kv_format=kv_format,
        kv_element_bytes=element_bytes,
        speculative_tokens=int(_number(options, "num-speculative-tokens", 0, 0, 64) or 0),
    )


def ranks(deployment: Deployment) -> tuple[Accelerator, ...]:
    """The device of every rank."""
    return deployment.machine.devices[: deployment.device_count] or (CPU,) * deployment.device_count


def kv_elements(deployment: Deployment) -> tuple[str, float]:
    """(format, bytes of an element) of the cache: the model's type for `auto`, unless the checkpoint names another."""
    asked = deployment.kv_format
    checkpoint = deployment.model.checkpoint
    if (
        asked == "auto"
        and checkpoint is not None
        and checkpoint.kv_format == "fp8"
        and deployment.weight_format.name == checkpoint.weight_format
    ):
        asked = "fp8"
    if asked == "auto" or deployment.model.architecture in feature("kv_dtype_ignored"):
        return ("bf16" if deployment.model.dtype == "bf16" else "f16"), 2.0
    if asked.startswith("nvfp4"):
        return asked, _NVFP4_BYTES
    return asked, BYTES_PER_ELEMENT.get(asked, 1.0 if asked.startswith("fp8") else 2.0)
