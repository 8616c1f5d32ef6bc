"""Weight formats: names, aliases, and the bytes that a quantized matrix takes."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from fitserve.foundation.errors import FactMissing, InputError
from fitserve.foundation.facts import load_json, load_toml
from fitserve.foundation.units import ceil_div

_BLOCK = 128  # rows and columns of an FP8 block


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightFormat:
    """A way to store weights. `bits` is None for GGUF mixes, whose tensors differ in type."""

    name: str
    family: str
    """plain, fp8, int8, int4, fp4, bnb, gguf, exl2, exl3 or mlx."""
    bits: float | None
    group: int | None = None
    scale_bits: float = 0
    zero_bits: float = 0
    row_bytes: int = 0
    block_bytes: int = 0
    whole_model: bool = False
    """Embeddings and head are quantized too."""
    source: str = ""

    @property
    def is_quantized(self) -> bool:
        """Whether matrices are stored in fewer than 16 bits."""
        return self.family != "plain"

    @property
    def gguf_mix(self) -> str | None:
        """`Q4_K_M` of `gguf:Q4_K_M`."""
        return self.name[5:] if self.family == "gguf" else None

    def effective_bits(self) -> float:
        """Bits per weight with scales; GGUF mixes by the block of their base type, which orders them well enough."""
        if self.family == "gguf":
            return gguf_nominal_bits(self.name[5:])
        if self.bits is None:
            return 0.0
        return self.bits + ((self.scale_bits + self.zero_bits) / self.group if self.group else 0)

    def matrix_bytes(self, row_length: int, rows: int, group: int | None = None) -> int:
        """Bytes of a matrix of `rows` x `row_length`; `group` replaces the usual group size."""
        if self.bits is None:
            raise FactMissing(f"bytes of a matrix in {self.name}", "the headers of the weight files")
        elements = row_length * rows
        size = ceil_div(int(elements * self.bits), 8)
        step = group or self.group
        if step:
            size += ceil_div(int(ceil_div(row_length, step) * rows * (self.scale_bits + self.zero_bits)), 8)
        if self.block_bytes:
            size += ceil_div(row_length, _BLOCK) * ceil_div(rows, _BLOCK) * self.block_bytes
        return size + rows * self.row_bytes


@lru_cache(maxsize=1)
def _table() -> tuple[Mapping[str, Any], ...]:
    return tuple(load_toml("fitserve.models", "formats.toml")["formats"])


@lru_cache(maxsize=1)
def gguf_types() -> Mapping[str, Mapping[str, Any]]:
    """Rows of the GGML type table by type name."""
    return {row["type"]: row for row in load_json("fitserve.models.catalog", "gguf_types.json")["rows"]}


_GGUF_NAME = re.compile(
    r"(?:UD-)?(?:F32|F16|BF16|MXFP4(?:_MOE)?|NVFP4|TQ[12]_0|I?Q[1-9]_[A-Z0-9]+(?:_[A-Z0-9]+)*)|mmproj-.*|APEX.*|MoQ-.*|mix-.*",
    re.IGNORECASE,
)
_FAMILIES = {
    "f32": "plain", "bf16": "plain", "f16": "plain", "fp8": "fp8", "fp8-block": "fp8", "int8-w8a8": "int8",
    "w4a16": "int4", "awq-4bit": "int4", "gptq-4bit": "int4", "autoround-int4": "int4", "gptq-8bit": "int8",
    "bnb-4bit": "bnb", "bnb-8bit": "bnb", "nvfp4": "fp4", "mxfp4": "fp4",
}  # fmt: skip


@lru_cache(maxsize=256)
def parse_format(text: str) -> WeightFormat:
    """The format that people mean by `text`. Raises InputError for a name that is none."""
    wanted = text.strip()
    lower = wanted.lower().replace("_", "-") if not _looks_gguf(wanted) else wanted.lower()
    for row in _table():
        if lower == row["name"] or lower in [alias.replace("_", "-") for alias in row["aliases"]]:
            return _plain(row)
        if "pattern" in row and (match := re.fullmatch(row["pattern"], wanted.lower())):
            return _patterned(row, wanted.lower(), match)
    if _looks_gguf(wanted):
        name = re.sub(r"^gguf:", "", wanted, flags=re.IGNORECASE)
        return WeightFormat(
            name=f"gguf:{_gguf_case(name)}", family="gguf", bits=None, source="llama.cpp v0.5.0 src/llama-quant.cpp"
        )
    raise InputError.of("unknown_format", given=text, known=tuple(sorted(_FAMILIES)))


def _looks_gguf(text: str) -> bool:
    if text.lower().startswith("gguf:"):
        return bool(_GGUF_NAME.fullmatch(text[5:])) or bool(text[5:])
    return bool(_GGUF_NAME.fullmatch(text)) and text.lower() not in {"f32", "f16", "bf16", "nvfp4", "mxfp4"}


def _gguf_case(name: str) -> str:
    return name if name.lower().startswith(("mmproj", "apex", "moq", "mix")) else name.upper()


def _plain(row: Mapping[str, Any]) -> WeightFormat:
    fields = {
        key: row[key]
        for key in ("group", "scale_bits", "zero_bits", "row_bytes", "block_bytes", "whole_model")
        if key in row
    }
    return WeightFormat(
        name=row["name"], family=_FAMILIES[row["name"]], bits=row["bits"], source=row["source"], **fields
    )


def _patterned(row: Mapping[str, Any], text: str, match: re.Match[str]) -> WeightFormat:
    family = row["name"].split(":")[0].split("-")[0]
    bits = float(match[1]) if match[1] else None
    fields = {key: row[key] for key in ("group", "scale_bits", "zero_bits", "whole_model") if key in row}
    name = text if family == "mlx" or match[1] is None else f"{family}:{match[1]}bpw"
    return WeightFormat(name=name, family=family, bits=bits, source=row["source"], **fields)


@lru_cache(maxsize=1)
def _kept_table() -> tuple[Mapping[str, Any], ...]:
    return tuple(load_toml("fitserve.models", "formats.toml")["kept"])


def usually_kept(architecture: str, format_name: str) -> tuple[str, ...]:
    """Modules that the usual recipe for this architecture leaves in 16 bit."""
    for row in _kept_table():
        if row["architecture"] == architecture and format_name in row["formats"]:
            return tuple(row["modules"])
    return ()


_BASE_TYPES = {
    "Q2_K_S": "Q2_K", "Q3_K_S": "Q3_K", "Q3_K_M": "Q3_K", "Q3_K_L": "Q3_K", "Q4_K_S": "Q4_K", "Q4_K_M": "Q4_K",
    "Q5_K_S": "Q5_K", "Q5_K_M": "Q5_K", "IQ2_S": "IQ2_XS", "IQ2_M": "IQ2_S", "IQ3_XS": "IQ3_S", "IQ3_M": "IQ3_S",
    "MXFP4_MOE": "MXFP4",
}  # fmt: skip


def gguf_base_type(mix: str) -> str | None:
    """The type that most tensors of a mix have; None when the name says nothing of it."""
    name = mix.upper().removeprefix("UD-")
    for suffix in ("_XXL", "_XL", "_L", "_P"):
        if name.endswith(suffix) and name not in {"Q3_K_L"}:
            name = name.removesuffix(suffix)
            name = f"{name}_M" if name in {"Q3_K", "Q4_K", "Q5_K"} else name
            break
    name = _BASE_TYPES.get(name, name)
    return name if name in gguf_types() else None


def gguf_nominal_bits(mix: str) -> float:
    """Bits per weight of the mix's base type, plus a hair for the letter, so that Q4_K_M stands above Q4_K_S."""
    base = gguf_base_type(mix)
    if base is None:
        return 0.0
    extra = {"_S": 0.0, "_M": 0.3, "_L": 0.5, "XL": 0.6, "XS": 0.1}.get(mix.upper()[-2:], 0.0)
    return float(gguf_types()[base]["bits_per_weight"]) + extra
