"""Engine-neutral bytes: figures worked out by hand or published, and laws."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import deployment, machine
from fitserve.footprint.gguf_mix import BASE_TYPES, gguf_weight_bytes, typed_tensors
from fitserve.footprint.gguf_recipes import gguf_file_bytes, stock_mix
from fitserve.footprint.kv_cache import sequence_kv_elements, state_elements
from fitserve.footprint.weights import Sharding, checkpoint_bytes, weight_bytes
from fitserve.foundation.errors import FactMissing
from fitserve.models.catalog.lookup import catalog_model, rows
from fitserve.models.counts import checkpoint_params
from fitserve.models.formats import parse_format
from fitserve.models.types import Attention, LatentAttention

ORIGINALS = [model_id for model_id, row in rows().items() if row["quantized_from"] is None]


def test_every_model_of_the_catalogue_is_read_and_counted() -> None:
    for model_id in rows():
        model = catalog_model(model_id)
        assert model.layers and model.tensors and model.max_context_tokens > 0, model_id
    counted = {row["count"] for row in rows().values()}
    exceptions = [row["id"] for row in rows().values() if row["count"].startswith("total exceeds")]
    assert "equal" in counted and "not read" not in counted
    # documented in tools/count_exceptions.toml
    assert len(exceptions) <= 24, exceptions


@pytest.mark.parametrize(
    ("model_id", "tokens", "kv_bytes"),
    [
        # layers x KV heads x head size x (key + value) x tokens x 2 bytes
        ("meta-llama/Llama-3.1-8B-Instruct", 8192, 32 * 8 * 128 * 2 * 8192 * 2),
        ("meta-llama/Llama-3.3-70B-Instruct", 8192, 80 * 8 * 128 * 2 * 8192 * 2),
        # latent attention: (512 + 64) numbers a token and layer
        ("deepseek-ai/DeepSeek-V3", 4096, 61 * 576 * 4096 * 2),
        # 52 of 62 layers keep a window of 1024
        ("google/gemma-3-27b-it", 8192, (10 * 8192 + 52 * 1024) * 16 * 128 * 2 * 2),
        # 16 of 64 layers attend, the others keep a state
        ("Qwen/Qwen3.5-27B", 8192, 16 * 4 * 256 * 2 * 8192 * 2),
        # three of four layers keep their chunk of 8192
        (
            "meta-llama/Llama-4-Scout-17B-16E-Instruct",
            32768,
            (12 * 32768 + 36 * 8192) * 8 * 128 * 2 * 2,
        ),
    ],
)
def test_kv_bytes_of_one_sequence(model_id: str, tokens: int, kv_bytes: int) -> None:
    assert sequence_kv_elements(catalog_model(model_id), tokens) * 2 == kv_bytes


def test_recurrent_state_by_hand() -> None:
    # Qwen3.5-27B: 48 heads of 128 x 128, convolution of 4 over 2 x 16 x 128 + 48 x 128 channels
    states = [s for layer in catalog_model("Qwen/Qwen3.5-27B").layers for m in layer.mixers if (s := state_elements(m))]
    assert len(states) == 48
    assert states[0].recurrent == 48 * 128 * 128
    assert states[0].convolution == 3 * (2 * 16 * 128 + 48 * 128)


@pytest.mark.parametrize(
    ("model_id", "weight_format", "gib"),
    [
        # parameters x 2 bytes
        ("meta-llama/Llama-3.1-8B-Instruct", "bf16", 8_030_261_248 * 2 / 2**30),
        ("Qwen/Qwen3-32B", "bf16", 32_762_123_264 * 2 / 2**30),
    ],
)
def test_weights_by_hand(model_id: str, weight_format: str, gib: float) -> None:
    assert weight_bytes(catalog_model(model_id), parse_format(weight_format)) / 2**30 == pytest.approx(gib, rel=1e-6)


def test_a_four_bit_checkpoint_keeps_its_embeddings() -> None:
    # 70 linear weights of 8.03 B in 4 bit with a 16-bit scale and 4-bit zero per 128, embedding and head in 16 bit
    model = catalog_model("meta-llama/Llama-3.1-8B-Instruct")
    kept = 2 * 128256 * 4096 + 65 * 4096
    linear = checkpoint_params(model) - kept
    by_hand = kept * 2 + linear * (4 + 20 / 128) / 8
    assert weight_bytes(model, parse_format("awq-4bit")) == pytest.approx(by_hand, rel=1e-3)


@pytest.mark.parametrize(
    ("model_id", "mix", "file_bytes"),
    [
        # files as published: TheBloke and lmstudio-community (evidence gguf_size)
        ("mistralai/Mistral-7B-Instruct-v0.2", "Q4_K_S", 4140374304),
        ("meta-llama/Meta-Llama-3-8B-Instruct", "Q4_K_M", 4920734656),
        ("google/gemma-2-9b-it", "Q4_K_M", 5761057728),
    ],
)
def test_gguf_files_as_published(model_id: str, mix: str, file_bytes: int) -> None:
    assert gguf_file_bytes(catalog_model(model_id), mix).likely == pytest.approx(file_bytes, rel=1e-3)


def test_a_recipe_is_estimated_and_says_so() -> None:
    model = catalog_model("Qwen/Qwen3-8B")
    stock, recipe = gguf_file_bytes(model, "Q4_K_M"), gguf_file_bytes(model, "UD-Q4_K_XL")
    assert recipe.likely == stock.likely and recipe.high > stock.high
    assert gguf_file_bytes(model, "Q4_K_L").likely > stock.likely
    assert (stock_mix("UD-Q8_K_XL"), stock_mix("Q3_K_L"), stock_mix("APEX-1")) == ("Q8_0", "Q3_K_L", None)
    with pytest.raises(FactMissing):
        gguf_file_bytes(model, "APEX-Quality")


GGUF_MODELS = [m for m in ORIGINALS if catalog_model(m).gguf_architecture is not None]
LADDER = ["IQ1_M", "IQ2_M", "Q3_K_M", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0", "BF16"]


@given(st.sampled_from(GGUF_MODELS))
def test_more_bits_never_weigh_less(model_id: str) -> None:
    sizes = [gguf_weight_bytes(catalog_model(model_id), mix) for mix in LADDER]
    assert sizes == sorted(sizes)


@given(st.sampled_from(GGUF_MODELS), st.sampled_from(sorted(BASE_TYPES)))
def test_tensors_of_a_mix_sum_to_the_whole(model_id: str, mix: str) -> None:
    model = catalog_model(model_id)
    tensors = typed_tensors(model, mix)
    assert sum(t.bytes_each * max(1, len(t.layers)) for t in tensors) == gguf_weight_bytes(model, mix)
    layers = [layer for t in tensors if t.role == "attn_norm.weight" for layer in t.layers]
    assert sorted(layers) == sorted(set(layers))


@given(st.sampled_from(ORIGINALS), st.integers(1, 10**6), st.integers(1, 10**6))
def test_a_longer_sequence_never_needs_less(model_id: str, one: int, other: int) -> None:
    model = catalog_model(model_id)
    assert sequence_kv_elements(model, min(one, other)) <= sequence_kv_elements(model, max(one, other))


FORMATS = [
    "bf16",
    "fp8",
    "fp8-block",
    "int8-w8a8",
    "gptq-8bit",
    "w4a16",
    "awq-4bit",
    "gptq-4bit",
    "nvfp4",
    "mxfp4",
    "bnb-4bit",
    "bnb-8bit",
    "exl2:4.65bpw",
    "mlx-4bit",
]


@given(st.sampled_from(ORIGINALS), st.sampled_from(FORMATS))
def test_quantized_never_weighs_more(model_id: str, weight_format: str) -> None:
    model = catalog_model(model_id)
    assert 0 < weight_bytes(model, parse_format(weight_format)) <= weight_bytes(model, parse_format("bf16"))


def _divides(model_id: str, tp: int) -> bool:
    mixers = [m for layer in catalog_model(model_id).layers for m in layer.mixers]
    return all(m.query_heads % tp == 0 for m in mixers if isinstance(m, Attention | LatentAttention))


@given(st.sampled_from(ORIGINALS), st.sampled_from([2, 4, 8]), st.sampled_from(FORMATS))
def test_shards_cover_the_model(model_id: str, tp: int, weight_format: str) -> None:
    if not _divides(model_id, tp):
        return
    model, chosen = catalog_model(model_id), parse_format(weight_format)
    whole = weight_bytes(model, chosen)
    one = weight_bytes(model, chosen, Sharding(tp=tp))
    assert one < whole <= one * tp + 1


@given(st.sampled_from(ORIGINALS), st.integers(1, 4))
def test_stages_sum_to_the_model(model_id: str, cut: int) -> None:
    model, chosen = catalog_model(model_id), parse_format("bf16")
    middle = max(1, len(model.layers) * cut // 5)
    first = Sharding(layers=range(middle), last_stage=False)
    last = Sharding(layers=range(middle, len(model.layers)), first_stage=False)
    assert weight_bytes(model, chosen, first) + weight_bytes(model, chosen, last) == weight_bytes(model, chosen)


def test_a_download_holds_all_parts() -> None:
    for model_id in ("deepseek-ai/DeepSeek-V3", "google/gemma-3-27b-it"):
        model = catalog_model(model_id)
        own = model.checkpoint.weight_format if model.checkpoint else model.dtype
        assert checkpoint_bytes(model) >= weight_bytes(model, parse_format(own))


def test_a_deployment_knows_its_devices() -> None:
    made = deployment("Qwen/Qwen3-8B", "bf16", "vllm", machine(*["rtx-4090"] * 4), tp=2, pp=2)
    assert made.device_count == 4
