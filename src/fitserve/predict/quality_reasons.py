"""What a user should know about the quality of a deployment, as reasons: where people get hurt, and with which figures."""

from collections.abc import Iterator
from typing import Final

from fitserve.foundation.reasons import Reason, Source, note, warning
from fitserve.models.formats import WeightFormat
from fitserve.models.types import LanguageModel
from fitserve.predict.format_quality import INTERPOLATED, FormatQuality, active_weights, format_quality
from fitserve.predict.kv_quality import kv_bits, kv_quality

_VERY_LOW_BITS: Final = 3.2  # Q2_K and below, by the bits that a file of it has (llama.cpp tools/quantize/README)
_FEW_BITS: Final = 5.0
_SMALL_WEIGHTS: Final = 4e9
_FELT_PCT: Final = 97.0  # three points of a hundred are more than the chance error of the usual benchmarks
_LOW_KV_BITS: Final = 6.0
_LONG_TOKENS: Final = 32768
_STRICT_USES: Final = ("agent", "coding", "reasoning")

_SCOREBOARD = Source("measurement", "llama.cpp tools/perplexity/README.md, LLaMA 3 8b scoreboard", "2026-11-20")
_QWEN2 = Source(
    "measurement", "https://qwen.readthedocs.io/en/latest/getting_started/quantization_benchmark.html", "2026-11-20"
)
_W4A16 = Source(
    "measurement", "https://huggingface.co/RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w4a16", "2026-11-20"
)
_TOOL_CALLS = Source("measurement", "https://github.com/eeshansrivastava89/minimal-ai/issues/18", "2026-11-20")
_KV_GSM8K = Source("measurement", "https://github.com/FlashML-org/FreeToken/pull/268", "2026-11-20")


def quality_reasons(
    model: LanguageModel, weight_format: WeightFormat, *, kv_format: str | None, context_tokens: int, use: str
) -> tuple[Reason, ...]:
    """Warnings and notes on the weights and the KV cache; empty when both stay as released.

    `use`: chat, coding, agent, reasoning, rag or batch. An unknown format says so instead of being taken for harmless.
    """
    quality = format_quality(weight_format, model)
    found: list[Reason] = []
    if quality is None:
        found.append(note("quality_unknown", format=weight_format.name))
    elif quality.loss_class != "original":
        found += _of_weights(model, quality, use)
    return (*found, *_of_cache(kv_format, context_tokens, use))


def _of_weights(model: LanguageModel, quality: FormatQuality, use: str) -> Iterator[Reason]:
    weights, (_, has_experts) = model.params("text"), active_weights(model)
    kept = quality.score_kept_pct
    numbers = {"format": quality.weight_format, "low": f"{kept.low:.0f}", "likely": f"{kept.likely:.0f}"}
    if quality.bits < _VERY_LOW_BITS:
        yield warning("quality_very_low_bits", _SCOREBOARD, bits=f"{quality.bits:.1f}", **numbers)
    elif quality.bits < _FEW_BITS and weights <= _SMALL_WEIGHTS:
        say = warning if kept.low < _FELT_PCT else note
        yield say("quality_small_model_few_bits", _QWEN2, billions=f"{weights / 1e9:.1f}", **numbers)
    elif quality.bits < _FEW_BITS and use in _STRICT_USES:
        yield note("quality_few_bits_strict_use", _W4A16, **numbers)
    if quality.way == INTERPOLATED:
        yield note(
            "quality_interpolated", format=quality.weight_format, below=quality.between[0], above=quality.between[1]
        )
    if has_experts and quality.bits < _FEW_BITS and not quality.measured:
        yield note("quality_experts_not_measured", format=quality.weight_format)


def _of_cache(kv_format: str | None, context_tokens: int, use: str) -> Iterator[Reason]:
    if kv_format is None:
        return
    bits, quality = kv_bits(kv_format), kv_quality(kv_format)
    if bits is None or quality is None or bits >= 16:
        return
    most = f"{quality.kl_divergence.high:.3f}"
    if bits >= _LOW_KV_BITS:
        if context_tokens >= _LONG_TOKENS:
            yield note("quality_kv_eight_bits_long", kv_format=kv_format, context_tokens=context_tokens)
    elif context_tokens >= _LONG_TOKENS or use == "agent":
        yield warning("quality_kv_few_bits_long", _TOOL_CALLS, kv_format=kv_format, context_tokens=context_tokens)
    else:
        yield warning("quality_kv_few_bits", _KV_GSM8K, kv_format=kv_format, most=most)
