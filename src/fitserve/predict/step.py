"""Time of one engine step on one deployment: every matrix, the experts touched, attention, collectives, fixed costs.

A step has parts (seconds, from peak rates and measured kernel efficiencies) and scales, which are fitted on measured cases
(predict/data/speed.json): scale 1 is the kernel tables' word.
"""

import re
from dataclasses import dataclass

from fitserve.engines.contract import Deployment
from fitserve.footprint.kv_cache import BYTES_PER_ELEMENT
from fitserve.models.types import LanguageModel, LatentAttention
from fitserve.predict.efficiency import (
    AllReduce,
    Curve,
    ExpertKernel,
    GemmKernel,
    GpuKey,
    TimeCurve,
    all_reduce,
    cache_read,
    expert_kernel,
    gemm_kernel,
    key_of,
    prefill_use,
)
from fitserve.predict.gpu_rates import GpuRates, gpu_rates
from fitserve.predict.policy import policy_of
from fitserve.predict.work import (
    AttentionWork,
    CacheRead,
    Matrix,
    attention_works,
    cache_reads,
    matrices,
    touched_share,
)

PARTS = (
    "dense", "dense_excess", "experts", "experts_excess", "attention", "attention_excess", "collectives", "layers",
    "step", "requests", "launch",
)  # fmt: skip
"""Parts of a step, in the order of every tuple of parts and of scales. `excess`: what the kernel tables say beyond the
time at peak rates; fused and overlapped kernels of a running engine spare some of it. `launch`: kernels that the
processor starts one by one, as it does in steps with a prompt, which no CUDA graph covers."""
Parts = tuple[float, ...]
_KERNEL_S = 1.25e-6  # of a small kernel in a CUDA graph: 4 to 8 us a layer with two norms, rotation and activation
_PLAIN_KERNELS = 2  # rotation and activation
_STEP_S = 1e-3
_REQUEST_S = 1e-5
_LAUNCH_S = 5e-5  # of a layer's kernels
_PASSES = 8.0  # times that the small kernels of a layer read or write the hidden state
_STREAM_SHARE = 0.7  # of the bandwidth that they reach
_ACTIVATION_BYTES = 2
# Some experts are liked better, so that tokens touch fewer than at random: as many as this share of them would at random.
# Operator tables with power-law routing against balanced ones (utilisation .75-.9 against .5-.65 at 16 to 64 tokens).
_SKEW = 0.65
_NORM = re.compile(r"_norm\.weight$")
_NORM_APART = re.compile(r"(?<!attn_q)(?<!attn_k)_norm\.weight$")


@dataclass(frozen=True, slots=True)
class _Gemm:
    kernel: GemmKernel
    bytes: float
    token_flop: float
    count: int
    is_head: bool


@dataclass(frozen=True, slots=True)
class _Moe:
    kernel: ExpertKernel
    bytes: float
    token_flop: float
    count: int
    used: int
    of: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepParts:
    """One rank's work, compiled for a deployment. `spread`: tokens of other data parallel ranks whose experts run here."""

    gpu: GpuRates
    gemms: tuple[_Gemm, ...]
    experts: tuple[_Moe, ...]
    reads: tuple[CacheRead, ...]
    works: tuple[AttentionWork, ...]
    read: TimeCurve
    use: Curve
    collective: AllReduce | None
    layers: int
    hidden: int
    small_kernels: float
    stages: int
    spread: int
    is_latent: bool

    def decode(self, batch: float, context_tokens_sum: float) -> Parts:
        """Parts of a decode step; with pipeline stages, of one micro-batch through all of them."""
        size = max(1.0, batch / self.stages)
        context = context_tokens_sum / max(batch, 1e-9)
        attention = ideal = 0.0
        for item in self.reads:
            read = item.bytes(context) * size
            attention += self.read(read) * item.count
            ideal += read * item.count / self.gpu.bandwidth_bytes_per_s
        return self._tokens(size, size, ideal, attention, batch, 0.0)

    def prefill(self, chunk_tokens: float, past_tokens: float) -> Parts:
        """Parts of a step that computes a chunk of a prompt."""
        ideal, attention = self._prefill_attention(chunk_tokens, past_tokens)
        return self._tokens(chunk_tokens, 1.0, ideal, attention, 1.0, _LAUNCH_S)

    def mixed(self, batch: float, context_tokens_sum: float, chunk_tokens: float, past_tokens: float) -> Parts:
        """Parts of a step with decodes and a chunk: matrices see all tokens at once, attention twice."""
        size = max(1.0, batch / self.stages)
        decode = self.decode(batch, context_tokens_sum)
        ideal, attention = self._prefill_attention(chunk_tokens, past_tokens)
        ideal, attention = ideal + decode[4], attention + decode[4] + decode[5]
        return self._tokens(size + chunk_tokens, size + 1.0, ideal, attention, batch, _LAUNCH_S)

    def _tokens(
        self, tokens: float, sampled: float, least: float, attention: float, batch: float, launch: float
    ) -> Parts:
        """All parts of a step over `tokens`; its attention takes `least` at peak rates and `attention` by the tables."""
        bandwidth = self.gpu.bandwidth_bytes_per_s
        dense = dense_least = 0.0
        for item in self.gemms:
            rows = sampled if item.is_head else tokens
            flop = item.token_flop * rows
            dense += item.kernel.seconds(item.bytes, flop, rows) * item.count
            dense_least += max(item.bytes / bandwidth, flop / item.kernel.flop_per_s) * item.count
        routed = tokens * self.spread
        experts = experts_least = 0.0
        for moe in self.experts:
            size, flop = moe.bytes * touched_share(moe.of, moe.used, _SKEW * routed), moe.token_flop * routed
            experts += moe.kernel.seconds(size, flop, routed) * moe.count
            experts_least += max(size / bandwidth, flop / moe.kernel.flop_per_s) * moe.count
        message = tokens * self.hidden * _ACTIVATION_BYTES
        collectives = 2 * self.layers * self.collective.seconds(message) if self.collective else 0.0
        passes = _PASSES * message / (bandwidth * _STREAM_SHARE)
        return (
            dense_least, max(0.0, dense - dense_least), experts_least, max(0.0, experts - experts_least),
            least, max(0.0, attention - least), collectives, self.small_kernels * _KERNEL_S + self.layers * passes,
            _STEP_S * self.stages, batch * _REQUEST_S, self.layers * launch,
        )  # fmt: skip

    def _prefill_attention(self, chunk_tokens: float, past_tokens: float) -> tuple[float, float]:
        """Seconds at the peak rate and by the tables."""
        least = sum(work.flop(chunk_tokens, past_tokens) * work.count for work in self.works)
        least /= self.gpu.flop_per_s["bf16"]
        return least, least / self.use(chunk_tokens + past_tokens)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaledSteps:
    """Step times of a deployment: parts times fitted scales. A StepTimes."""

    parts: StepParts
    decode_scales: Parts
    prefill_scales: Parts

    def decode_s(self, batch: float, context_tokens_sum: float) -> float:
        """See StepTimes."""
        return _dot(self.parts.decode(batch, context_tokens_sum), self.decode_scales)

    def prefill_s(self, chunk_tokens: float, past_tokens: float) -> float:
        """See StepTimes."""
        return _dot(self.parts.prefill(chunk_tokens, past_tokens), self.prefill_scales)

    def mixed_s(self, batch: float, context_tokens_sum: float, chunk_tokens: float, past_tokens: float) -> float:
        """See StepTimes: the decodes, and what the chunk adds to them."""
        decode = self.parts.decode(batch, context_tokens_sum)
        both = self.parts.mixed(batch, context_tokens_sum, chunk_tokens, past_tokens)
        added = tuple(max(0.0, b - d) for b, d in zip(both, decode, strict=True))
        return _dot(decode, self.decode_scales) + _dot(added, self.prefill_scales)


def _dot(parts: tuple[float, ...], scales: tuple[float, ...]) -> float:
    return sum(part * scale for part, scale in zip(parts, scales, strict=True))


def element_bytes(kv_format: str) -> float:
    """Bytes of a cache element of a resolved format."""
    return BYTES_PER_ELEMENT.get(kv_format, 1.0 if "fp8" in kv_format else 0.5625 if "fp4" in kv_format else 2.0)


def step_parts(deployment: Deployment, kv_format: str, gpu: GpuRates | None = None) -> StepParts:
    """The compiled work of one rank; `gpu` stands in for the machine's first device.

    Raises FactMissing when the GPU's rates are not known, or no kernel tables stand for it.
    """
    model, weight_format, engine = deployment.model, deployment.weight_format, deployment.engine
    gpu = gpu or gpu_rates(deployment.machine.devices[0].id)
    key = key_of(gpu)
    tp, ep = deployment.tp, deployment.ep
    found = matrices(model, weight_format, tp, ep)
    size = element_bytes(kv_format)
    return StepParts(
        gpu=gpu,
        gemms=tuple(_gemm(item, deployment, key) for item in found if not item.experts),
        experts=_experts(found, deployment, key),
        reads=cache_reads(model, size, tp),
        works=attention_works(model, tp),
        read=cache_read(key, engine, size < 2),
        use=prefill_use(key, engine),
        collective=all_reduce(key, engine, tp) if tp > 1 else None,
        layers=len(model.layers),
        hidden=model.hidden_size,
        small_kernels=_small_kernels(model, engine),
        stages=deployment.pp,
        spread=deployment.dp if ep > tp else 1,
        is_latent=any(isinstance(mixer, LatentAttention) for layer in model.layers for mixer in layer.mixers),
    )


def _small_kernels(model: LanguageModel, engine: str) -> int:
    """Kernels of all layers that are neither matrices nor attention: norms (of queries and keys fused by some engines)."""
    pattern = _NORM_APART if policy_of(engine).get("fuses_qk_norm", False) else _NORM
    norms = sum(len(group.layers) for group in model.tensors if group.part == "text" and pattern.search(group.role))
    return len(model.layers) * _PLAIN_KERNELS + norms


def _gemm(item: Matrix, deployment: Deployment, key: GpuKey) -> _Gemm:
    weight_format = deployment.weight_format
    name, math_type = weight_format.name, key.rates.math(weight_format)
    if not item.is_quantized:
        name, math_type = "bf16", "bf16"
    kernel = gemm_kernel(key, deployment.engine, name, math_type)
    return _Gemm(kernel, item.bytes, item.flop(1.0), item.count, item.is_head)


def _experts(found: tuple[Matrix, ...], deployment: Deployment, key: GpuKey) -> tuple[_Moe, ...]:
    """The matrices of a layer's experts run as one fused call."""
    calls: dict[tuple[int, int, int, bool], list[Matrix]] = {}
    for item in found:
        if item.experts:
            calls.setdefault((item.count, item.used, item.of_experts, item.is_quantized), []).append(item)
    made = []
    for (count, used, of, is_quantized), items in calls.items():
        name, math_type = deployment.weight_format.name, key.rates.math(deployment.weight_format)
        if not is_quantized:
            name, math_type = "bf16", "bf16"
        kernel = expert_kernel(key, deployment.engine, name, math_type)
        size, flop = sum(item.bytes for item in items), sum(item.flop(1.0) for item in items)
        made.append(_Moe(kernel, size, flop, count, used, of))
    return tuple(made)
