"""GGUF headers: written by the `gguf` package, read by ours; broken and hostile ones refused at once."""

import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fitserve.engines.llama_cpp.compute import compute_bytes
from fitserve.engines.llama_cpp.kv_cache import kv_bytes, state_bytes
from fitserve.engines.llama_cpp.settings import ServerSettings
from fitserve.footprint.gguf_mix import gguf_weight_bytes
from fitserve.foundation.errors import InputError
from fitserve.models.catalog.lookup import catalog_model, rows
from fitserve.models.from_gguf import Row, model_from_gguf
from fitserve.models.readers.local import read_local
from fitserve.models.types import LanguageModel
from gguf_files import write_gguf


def _one_per_layout() -> list[str]:
    seen: dict[tuple[str, int, int], str] = {}
    for model_id, row in rows().items():
        model = catalog_model(model_id)
        if row["quantized_from"] is None and model.gguf_architecture is not None:
            seen.setdefault((model.gguf_architecture, len(model.layers), model.hidden_size), model_id)
    return list(seen.values())


def _settings(context: int, slots: int, unified: bool, flash: bool) -> ServerSettings:
    return ServerSettings(
        context_tokens=context, slots=slots, unified=unified, micro_batch_tokens=512, batch_tokens=2048,
        flash_attention=flash, key_format="f16", value_format="f16", full_window_cache=False, repack=True,
    )  # fmt: skip


CASES = [_settings(*case) for case in ((4096, 1, False, True), (32768, 4, True, True), (32768, 4, False, False))]


def _figures(model: LanguageModel) -> list[tuple[int, int, int]]:
    return [(kv_bytes(model, s), state_bytes(model, s), compute_bytes(model, s, True)) for s in CASES]


@pytest.mark.parametrize("model_id", _one_per_layout())
def test_a_file_gives_the_same_model_as_the_catalogue(model_id: str, tmp_path: Path) -> None:
    model = catalog_model(model_id)
    read = read_local(write_gguf(tmp_path / "model.gguf", model, "Q4_K_M"))
    assert read.gguf_architecture == model.gguf_architecture
    assert len(read.layers) == len(model.layers)
    assert read.checkpoint is not None and read.checkpoint.weight_format == "gguf:Q4_K_M"
    assert gguf_weight_bytes(read, "Q4_K_M") == gguf_weight_bytes(model, "Q4_K_M")
    assert _figures(read) == _figures(model)


def test_a_vocabulary_is_counted_and_not_kept(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "m.gguf", catalog_model("Qwen/Qwen3-0.6B"), "Q8_0", vocabulary=150_000)
    assert read_local(path).vocab_size == catalog_model("Qwen/Qwen3-0.6B").vocab_size


def _split(path: Path, parts: int) -> list[Path]:
    """A split file as gguf-split names it: here every part is a whole header, the tensors dealt out."""
    import gguf

    reader = gguf.GGUFReader(path)
    names = []
    for part in range(parts):
        name = path.with_name(f"{path.stem}-{part + 1:05d}-of-{parts:05d}.gguf")
        writer = gguf.GGUFWriter(name, "qwen3")
        writer.add_uint16("split.no", part)
        writer.add_uint16("split.count", parts)
        if part == 0:
            for key, field in reader.fields.items():
                if key.startswith("qwen3.") and len(field.types) == 1:
                    writer.add_uint32(key, int(field.parts[-1][0]))
                elif key.startswith("qwen3."):
                    writer.add_array(key, [int(field.parts[i][0]) for i in field.data])
            writer.add_uint32("general.file_type", 15)
        mine = [tensor for index, tensor in enumerate(reader.tensors) if index % parts == part]
        for tensor in mine:
            shape = [int(size) for size in reversed(tensor.shape)]
            import numpy as np

            writer.add_tensor_info(
                tensor.name, shape, np.dtype("float32"), int(tensor.n_bytes), raw_dtype=tensor.tensor_type
            )
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        writer.close()
        with name.open("r+b") as file:
            file.truncate(name.stat().st_size + sum(int(t.n_bytes) + 64 for t in mine))
        names.append(name)
    return names


def test_split_files_are_read_together(tmp_path: Path) -> None:
    model = catalog_model("Qwen/Qwen3-0.6B")
    parts = _split(write_gguf(tmp_path / "m.gguf", model, "Q4_K_M"), 3)
    for part in parts:
        assert gguf_weight_bytes(read_local(part), "Q4_K_M") == gguf_weight_bytes(model, "Q4_K_M")
    parts[1].unlink()
    with pytest.raises(InputError) as caught:
        read_local(parts[0])
    assert caught.value.problems[0].code == "split_part_missing"
    assert dict(caught.value.problems[0].parameters)["part"] == 2


@pytest.fixture(scope="module")
def small_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("gguf") / "model.gguf"
    return write_gguf(path, catalog_model("Qwen/Qwen3-0.6B"), "Q4_K_M", vocabulary=50)


def _refused(content: bytes, tmp_path: Path) -> str:
    path = tmp_path / "broken.gguf"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_local(path)
    return caught.value.problems[0].code


def _header(small_file: Path, length: int) -> bytes:
    with small_file.open("rb") as file:
        return file.read(length)


@pytest.mark.parametrize("length", [0, 3, 4, 7, 8, 20, 23, 24, 40, 100, 500, 3000])
def test_cut_off_headers_are_refused(length: int, small_file: Path, tmp_path: Path) -> None:
    assert _refused(_header(small_file, length), tmp_path) == "gguf_broken"


def test_a_file_without_its_last_tensor_is_refused(small_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "short.gguf"
    path.write_bytes(_header(small_file, 60_000))
    with path.open("r+b") as file:
        file.truncate(small_file.stat().st_size - 10_000)
    with pytest.raises(InputError) as caught:
        read_local(path)
    assert "missing at its end" in str(dict(caught.value.problems[0].parameters)["detail"])


MANY = 2**63
ABSURD = {
    "tensors": b"GGUF" + struct.pack("<IQQ", 3, MANY, 1) + b"\0" * 64,
    "keys": b"GGUF" + struct.pack("<IQQ", 3, 1, MANY) + b"\0" * 64,
    "key length": b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + struct.pack("<Q", MANY) + b"\0" * 64,
    "array": b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q1sIIQ", 1, b"a", 9, 4, MANY) + b"\0" * 64,
    "texts": b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q1sIIQ", 1, b"a", 9, 8, MANY) + b"\0" * 64,
    "nested": b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q1sIIQ", 1, b"a", 9, 9, 5) + b"\0" * 64,
    "type": b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q1sI", 1, b"a", 77) + b"\0" * 64,
    "version": b"GGUF" + struct.pack("<IQQ", 99, 0, 0) + b"\0" * 64,
    "big endian": b"GGUF" + struct.pack(">IQQ", 3, 0, 0) + b"\0" * 64,
    "no magic": b"GGML" + b"\0" * 200,
    "dimensions": b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + struct.pack("<Q1sI", 1, b"t", 2**31) + b"\0" * 64,
    "shape": b"GGUF"
    + struct.pack("<IQQ", 3, 1, 0)
    + struct.pack("<Q1sIQQIQ", 1, b"t", 2, MANY, MANY, 0, 0)
    + b"\0" * 64,
    "nothing": b"GGUF" + struct.pack("<IQQ", 3, 0, 0) + b"\0" * 64,
}


@pytest.mark.parametrize("name", ABSURD)
def test_absurd_headers_are_refused(name: str, tmp_path: Path) -> None:
    assert _refused(ABSURD[name], tmp_path) in {"gguf_broken", "config_field_missing"}


@settings(max_examples=300)
@given(position=st.integers(0, 2999), value=st.binary(min_size=1, max_size=8))
def test_flipped_bytes_never_escape_as_another_error(
    position: int, value: bytes, small_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = bytearray(_header(small_file, 60_000))
    content[position : position + len(value)] = value
    path = tmp_path_factory.getbasetemp() / "flipped.gguf"
    path.write_bytes(bytes(content))
    with path.open("r+b") as file:
        file.truncate(small_file.stat().st_size)
    try:
        model = read_local(path)
    except InputError:
        return
    assert model.params() > 0


@settings(max_examples=200)
@given(
    values=st.dictionaries(
        st.sampled_from(
            ["block_count", "embedding_length", "attention.head_count", "context_length", "expert_used_count"]
        ),
        st.one_of(
            st.integers(-(2**40), 2**70),
            st.floats(),
            st.text(max_size=4),
            st.lists(st.integers(0, 9), max_size=3),
            st.booleans(),
        ),
    )
)
def test_nonsense_metadata_is_refused_or_read(values: dict[str, object]) -> None:
    usual = {
        "general.architecture": "llama",
        "llama.block_count": 1,
        "llama.embedding_length": 64,
        "llama.context_length": 128,
    }
    usual |= {"llama.attention.head_count": 4}
    rows_ = [Row("token_embd.weight", (64, 100), "F16", 12800), Row("blk.0.attn_q.weight", (64, 64), "F16", 8192)]
    try:
        model = model_from_gguf(usual | {f"llama.{key}": value for key, value in values.items()}, rows_, "x.gguf")
    except InputError:
        return
    assert len(model.layers) >= 1
