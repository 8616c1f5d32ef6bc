"""Time of one stream as a sum of terms: seconds that the hardware's own rates allow, times what is lost on the way.

A term is `base_s` (bytes over bandwidth, operations over rate, or calls of a microsecond) and keys. The factor of a
term is the exponential of the sum of its keys' coefficients; a key without one counts zero, so a card without
measurements takes what its family has, and a family what its backend has. Bytes and operations: predict/work.py.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from fitserve.footprint.gguf_recipes import stock_mix
from fitserve.hardware.processors import Processor
from fitserve.models.formats import WeightFormat
from fitserve.models.types import Attention, LanguageModel, LatentAttention, LinearAttention, StateSpace
from fitserve.predict.stream_job import StreamDevice, StreamJob, stream_facts
from fitserve.predict.work import attention_flop, cache_read_bytes, matrices

_CALL_S = 1e-6
_FIXED_S = 1e-4
_LOGICAL_BATCH_TOKENS = 2048
"""llama.cpp common/common.h n_batch: the chunks of so many tokens run through several devices as a pipeline."""
_COPY_FROM_TOKENS = 32
"""Tokens from which ggml-cuda computes layers in RAM on the GPU (ggml_backend_cuda_device_offload_op)."""
_EXPERT_STEPS = (4, 16, 64)


@dataclass(frozen=True, slots=True)
class Term:
    """A share of the time and the coefficients that it takes."""

    base_s: float
    keys: tuple[str, ...]

    def seconds(self, coefficients: Mapping[str, float]) -> float:
        """The share with what is lost on the way."""
        return self.base_s * math.exp(sum(coefficients.get(key, 0.0) for key in self.keys))


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Sums over the matrices of a model; `per_expert_layer` values are of all expert layers."""

    dense_bytes: float
    head_bytes: float
    expert_bytes: float
    """Of all experts."""
    dense_flop: float
    """One token, without the head."""
    head_flop: float
    expert_flop: float
    experts: int
    used: int
    layers: int
    blocks: int
    """Mixers and feed-forward parts: two in a usual layer."""
    expert_layers: int
    linear_layers: int
    state_layers: int


@lru_cache(maxsize=512)
def shape_of(model: LanguageModel, weight_format: WeightFormat) -> Shape:
    """Sums that every estimate of a model in a format needs."""
    found = matrices(model, weight_format)
    dense = [m for m in found if not m.experts and not m.is_head]
    expert = [m for m in found if m.experts]
    head = [m for m in found if m.is_head]
    mixers = [mixer for layer in model.layers for mixer in layer.mixers]
    return Shape(
        dense_bytes=sum(m.bytes * m.count for m in dense),
        head_bytes=sum(m.bytes for m in head),
        expert_bytes=sum(m.bytes * m.count for m in expert),
        dense_flop=sum(m.flop(1) * m.count for m in dense),
        head_flop=sum(m.flop(1) for m in head),
        expert_flop=sum(m.flop(1) * m.count for m in expert),
        experts=max((m.of_experts for m in expert), default=0),
        used=max((m.used for m in expert), default=0),
        layers=len(model.layers),
        blocks=len(mixers) + sum(1 for layer in model.layers if layer.dense or layer.experts),
        expert_layers=sum(1 for layer in model.layers if layer.experts),
        linear_layers=sum(1 for mixer in mixers if isinstance(mixer, LinearAttention)),
        state_layers=sum(1 for mixer in mixers if isinstance(mixer, StateSpace)),
    )


@lru_cache(maxsize=256)
def weight_class(weight_format: WeightFormat) -> str:
    """Formats whose kernels unpack alike."""
    mix = weight_format.gguf_mix
    if mix is None:
        return f"{weight_format.family}{round(weight_format.bits or 16)}"
    name = (stock_mix(mix) or mix).upper().removeprefix("UD-")
    for start, kind in _CLASSES:
        if name.startswith(start):
            return kind
    return "gguf"


_CLASSES = (
    ("F16", "f16"), ("BF16", "bf16"), ("F32", "f32"), ("Q8", "q8"), ("Q6", "q6k"), ("Q5_K", "q5k"), ("Q5", "q5"),
    ("Q4_K", "q4k"), ("Q4", "q4"), ("IQ4", "iq4"), ("Q3", "q3k"), ("Q2", "q2k"), ("IQ3", "iq3"), ("IQ2", "iq2"),
    ("IQ1", "iq1"), ("MXFP4", "mxfp4"),
)  # fmt: skip


def _keys(stem: str, job: StreamJob, device: StreamDevice | None, *more: str) -> tuple[str, ...]:
    """Coefficients of a term from general to particular."""
    found = [stem, f"{stem}/backend:{job.backend}", f"{stem}/engine:{job.engine}"]
    if len(job.devices) > 1:
        kind = "tensor" if job.tensor_parallel else "several"
        found += [f"{stem}/{kind}", f"{stem}/{kind}:{job.backend}"]
    if job.is_old_build:
        found.append(f"{stem}/old:{job.backend}")
    if device is None and job.host is not None and job.host.sockets > 1:
        found.append(f"{stem}/sockets")
    if device is not None:
        found += [f"{stem}/family:{device.family}", f"{stem}/gpu:{device.id}", f"{stem}/path:{device.id}|{job.backend}"]
    return (*found, *(f"{stem}/{name}" for name in more))


def _format_keys(job: StreamJob, device: StreamDevice | None) -> tuple[str, ...]:
    kind = weight_class(job.weight_format)
    place = device.family if device is not None else "host"
    mix = job.weight_format.gguf_mix or ""
    recipe = (f"recipe:{mix}",) if mix.startswith("UD-") else ()
    early = (f"format:{kind}|old",) if job.is_old_build else ()
    return (f"format:{kind}", f"format:{kind}|{job.backend}", f"format:{kind}|{place}", *recipe, *early)


def _read_keys(job: StreamJob, device: StreamDevice) -> tuple[str, ...]:
    """Formats whose blocks are read alike differ by their bytes alone."""
    keys = _format_keys(job, device)
    return tuple(re.sub(r"^format:q[456]k", "format:k", key) for key in keys)


def _shares(job: StreamJob) -> list[tuple[StreamDevice, float]]:
    """Devices and their shares of the layers, by memory."""
    total = sum(device.memory_bytes for device in job.devices)
    return [(device, device.memory_bytes / total) for device in job.devices]


def _host_rate(job: StreamJob) -> tuple[float, str]:
    if job.host is not None:
        return job.host.bandwidth_bytes_per_s, f"cpu:{job.host.id}"
    return stream_facts()["assumptions"]["host_bandwidth"]["value"], "cpu:unknown"


def decode_terms(job: StreamJob, depth_tokens: float, streams: int = 1) -> tuple[Term, ...]:
    """Terms of one step that makes a token for each of `streams` sequences, all `depth_tokens` long."""
    shape = shape_of(job.model, job.weight_format)
    touched = shape.expert_bytes * (1 - (1 - shape.used / shape.experts) ** streams) if shape.experts else 0.0
    cache = cache_read_bytes(job.model, depth_tokens, job.kv_element_bytes) * streams
    if not job.devices:
        return tuple(_decode_on_host(job, job.host, shape, touched, cache, streams))
    on_host = job.host_layers / shape.layers
    experts_on_host = max(on_host, job.host_experts / shape.layers)
    dense = shape.dense_bytes * (1 - on_host) + shape.head_bytes
    flop = (shape.dense_flop * (1 - on_host) + shape.head_flop + shape.expert_flop * (1 - experts_on_host)) * streams
    terms: list[Term] = []
    for device, share in _shares(job):
        part = share if not job.tensor_parallel else 1 / len(job.devices) / len(job.devices)
        formats, read = _format_keys(job, device), _read_keys(job, device)
        rate = device.bandwidth_bytes_per_s
        terms += [
            Term(part * dense / rate, _keys("read", job, device, *read)),
            Term(
                part * touched * (1 - experts_on_host) / rate,
                (
                    *_keys("read", job, device, *read),
                    "read/experts",
                    f"read/experts:{job.backend}",
                    f"read/experts:{device.family}",
                    f"read/experts:{job.engine}",
                ),
            ),
            Term(part * cache * (1 - on_host) / rate, _keys("cache", job, device, *_cache_keys(job))),
            Term(part * flop / device.flop_per_s, _keys("unpack" if streams == 1 else "batch", job, device, *formats)),
        ]
    terms += _calls(job, shape)
    if on_host or experts_on_host:
        terms += _decode_rest(job, shape, touched * experts_on_host, on_host, cache)
    return tuple(term for term in terms if term.base_s > 0)


def _cache_keys(job: StreamJob) -> tuple[str, ...]:
    kinds = [*(["quantized"] if job.kv_element_bytes < 2 else []), *([] if job.has_flash_attention else ["plain"])]
    kinds += _attention_kinds(job.model)
    return tuple(name for kind in kinds for name in (kind, f"{kind}:{job.backend}"))


@lru_cache(maxsize=256)
def _attention_kinds(model: LanguageModel) -> tuple[str, ...]:
    """Attention that has kernels of its own: latent, or heads wider than 128 and than 256."""
    mixers = [mixer for layer in model.layers for mixer in layer.mixers]
    if any(isinstance(mixer, LatentAttention) for mixer in mixers):
        return ("latent",)
    widths = [mixer.key_dim for mixer in mixers if isinstance(mixer, Attention)]
    widest = max(widths, default=0)
    return ("widest",) if widest > 256 else ("wide",) if widest > 128 else ()


def _calls(job: StreamJob, shape: Shape) -> Iterator[Term]:
    """Kernels to start: by layer, more in expert and recurrent layers; a constant for the step."""
    first = job.devices[0]
    yield Term(shape.blocks / 2 * _CALL_S, _keys("layer", job, first))
    yield Term(
        shape.expert_layers * _CALL_S, (*_keys("layer", job, first), "layer/experts", f"layer/experts:{job.backend}")
    )
    yield from _recurrent("layer", job, shape, _CALL_S)
    yield Term(_FIXED_S, _keys("step", job, None))
    if len(job.devices) > 1:
        kind = "reduce" if job.tensor_parallel else "handover"
        count = 2 * shape.layers if job.tensor_parallel else len(job.devices) - 1
        yield Term(count * 10 * _CALL_S, _keys(kind, job, None))


def _recurrent(stem: str, job: StreamJob, shape: Shape, call_s: float) -> Iterator[Term]:
    """Layers with a state have more kernels; those of linear attention were slow before they had their own."""
    for kind, count in (("linear", shape.linear_layers), ("state", shape.state_layers)):
        early = (f"{stem}/{kind}_early:{job.backend}",) if job.is_before_recurrent and kind == "linear" else ()
        keys = _keys(stem, job, job.devices[0], kind, f"{kind}:{job.backend}")
        yield Term(count * call_s, (*keys, *early))


def _decode_on_host(
    job: StreamJob, host: Processor | None, shape: Shape, touched: float, cache: float, streams: int
) -> Iterator[Term]:
    """A machine without a GPU: memory rate, and the work of unpacking on the threads in use."""
    assert host is not None
    used = min(1.0, (job.threads or host.cores) / host.cores)
    formats = _format_keys(job, None)
    cpu = f"cpu:{host.id}"
    rate = host.bandwidth_bytes_per_s
    flop = (shape.dense_flop + shape.head_flop + shape.expert_flop) * streams
    yield Term((shape.dense_bytes + shape.head_bytes + touched) / rate, _keys("host", job, None, cpu))
    yield Term(cache / rate, _keys("host", job, None, cpu, "cache"))
    yield Term(flop / (host.flop_per_s * used), _keys("host_unpack", job, None, cpu, *formats))
    yield Term(shape.layers * _CALL_S, _keys("layer", job, None))


def _decode_rest(job: StreamJob, shape: Shape, touched: float, on_host: float, cache: float) -> Iterator[Term]:
    """What a machine with a GPU reads from RAM."""
    rate, cpu = _host_rate(job)
    yield Term((shape.dense_bytes * on_host + touched) / rate, ("host", "host/mixed", f"host/{cpu}"))
    yield Term(cache * on_host / rate, ("host", "host/mixed", "host/cache", f"host/{cpu}"))
    yield Term(max(job.host_layers, job.host_experts) * _CALL_S * 10, ("host_call",))


def prefill_terms(job: StreamJob, tokens: float, depth_tokens: float) -> tuple[Term, ...]:
    """Terms of reading `tokens` of a prompt behind `depth_tokens` that the cache holds already."""
    shape = shape_of(job.model, job.weight_format)
    chunks = max(1, math.ceil(tokens / job.chunk_tokens))
    per_chunk = tokens / chunks
    attention = attention_flop(job.model, tokens, depth_tokens)
    touched = shape.expert_bytes * (1 - (1 - shape.used / shape.experts) ** per_chunk) if shape.experts else 0.0
    if not job.devices:
        return tuple(_prefill_on_host(job, job.host, shape, tokens, chunks, touched, attention))
    overlap = _overlap(job, chunks)
    piped = ("piped", f"piped:{job.backend}") if overlap < 1 else ()
    terms: list[Term] = []
    for device, share in _shares(job):
        part = share * overlap if not job.tensor_parallel else 1 / len(job.devices) / len(job.devices)
        terms += _prefill_on_device(job, shape, device, part, (tokens, chunks, touched, attention), piped)
    first = job.devices[0]
    calls = chunks * overlap * 10 * _CALL_S
    terms.append(Term(calls * shape.blocks / 2, _keys("prefill_layer", job, first)))
    terms += _recurrent("prefill_layer", job, shape, calls * per_chunk / 100)
    terms.append(Term(10 * _FIXED_S, _keys("prefill_start", job, None)))
    if job.tensor_parallel:
        moved = 4.0 * tokens * shape.layers * job.model.hidden_size
        terms.append(Term(moved / 1e10, _keys("prefill_reduce", job, None)))
    in_ram = shape.dense_bytes * job.host_layers / shape.layers
    in_ram += shape.expert_bytes * max(job.host_layers, job.host_experts) / shape.layers
    if in_ram:
        link = stream_facts()["assumptions"]["host_to_device"]["value"]
        terms.append(Term(in_ram * chunks / link, ("copy",)))
    return tuple(term for term in terms if term.base_s > 0)


def _overlap(job: StreamJob, chunks: int) -> float:
    """Share of the time that devices in a row need when the chunks of a logical batch run through them as a pipeline."""
    count = len(job.devices)
    if count == 1 or job.tensor_parallel:
        return 1.0
    together = max(1, min(chunks, _LOGICAL_BATCH_TOKENS // max(1, job.chunk_tokens)))
    return (together + count - 1) / (together * count)


def _prefill_on_device(
    job: StreamJob,
    shape: Shape,
    device: StreamDevice,
    part: float,
    work: tuple[float, int, float, float],
    piped: tuple[str, ...],
) -> Iterator[Term]:
    tokens, chunks, touched, attention = work
    formats = _format_keys(job, device)
    rate = device.integer_flop_per_s if job.integer_products else device.matrix_flop_per_s
    rows = tokens / chunks
    size = (*_size_keys(rows), *(f"gemm/{name}" for name in piped))
    yield Term(part * shape.dense_flop * tokens / rate, (*_keys("gemm", job, device, *formats), *size))
    if shape.experts:
        rows *= shape.used / shape.experts
        steps = sum(1 for step in _EXPERT_STEPS if rows >= step)
        yield Term(
            part * shape.expert_flop * tokens / rate,
            (*_keys("gemm", job, device, *formats), "gemm/experts", f"gemm/rows:{steps}", f"gemm/rows:{steps}|{job.backend}",
             f"gemm/experts:{device.family}", f"gemm/experts:{job.engine}", *(f"gemm/{name}" for name in piped)),
        )  # fmt: skip
    read = shape.dense_bytes * chunks + shape.head_bytes + touched * chunks
    yield Term(part * read / device.bandwidth_bytes_per_s, _keys("prefill_read", job, device))
    yield Term(part * attention / rate, _keys("attention", job, device, *_cache_keys(job)))


def _size_keys(rows: float) -> tuple[str, ...]:
    """Small products leave a GPU idle."""
    steps = [step for step in (64, 256, 1024) if rows < step]
    return tuple(f"gemm/below:{step}" for step in steps)


def _prefill_on_host(
    job: StreamJob, host: Processor | None, shape: Shape, tokens: float, chunks: int, touched: float, attention: float
) -> Iterator[Term]:
    assert host is not None
    used = min(1.0, (job.threads or host.cores) / host.cores)
    cpu = f"cpu:{host.id}"
    rate = host.flop_per_s * used
    formats = _format_keys(job, None)
    yield Term(shape.dense_flop * tokens / rate, _keys("host_gemm", job, None, cpu, *formats))
    yield Term(shape.expert_flop * tokens / rate, (*_keys("host_gemm", job, None, cpu, *formats), "host_gemm/experts"))
    yield Term((shape.dense_bytes + touched) * chunks / host.bandwidth_bytes_per_s, _keys("host_read", job, None, cpu))
    yield Term(attention / rate, _keys("host_attention", job, None, cpu))


def total_s(terms: tuple[Term, ...], coefficients: Mapping[str, float]) -> float:
    """Sum of the terms."""
    return math.fsum(term.seconds(coefficients) for term in terms)
