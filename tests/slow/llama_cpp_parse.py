"""Gives one argument list to llama-server's own parser, as the embedded llama.cpp carries it, and prints the outcome.

`python llama_cpp_parse.py 12 llama-server --model a.gguf …` prints TAKEN, then PARSED and the understood values as JSON, or
ends with 1 when the parser refused (it says why on stderr). With --help the parser prints its option list and ends the
process. The number is llama_example::LLAMA_EXAMPLE_SERVER of the build's common/common.h; a wrong one prints another list.

The wheel exports the parser of the server, common_params_parse; the structure that it fills is the one behind
CommonParams, whose attributes read it back. A process of its own for each list: the parser may end the process.
"""

import ctypes
import json
import os
import sys
from typing import Any

import xllamacpp

_PARSE = "_Z19common_params_parseiPPcR13common_params13llama_examplePFviS0_E"
_OBJECT_HEAD_BYTES = 16  # reference count and type stand before the structure
_SECOND_FIELD_BYTES = 4  # n_predict, then n_ctx
_READ_BACK = (
    "n_ctx", "n_parallel", "n_gpu_layers", "n_batch", "n_ubatch", "n_predict", "cache_type_k", "cache_type_v",
    "flash_attn_type", "hostnames", "port", "kv_unified", "tensor_split", "tensor_buft_overrides", "api_keys",
    "model_alias", "use_jinja", "split_mode", "main_gpu", "endpoint_metrics", "swa_full", "cont_batching", "load_mode",
    "ctx_shift", "no_kv_offload", "warmup",
)  # fmt: skip


def _address(parameters: Any) -> int:
    """Where the structure lies; a value written through the binding must be found there."""
    address = id(parameters) + _OBJECT_HEAD_BYTES
    usual, mark = parameters.n_ctx, 13_579
    parameters.n_ctx = mark
    if ctypes.c_int32.from_address(address + _SECOND_FIELD_BYTES).value != mark:
        raise SystemExit("the binding keeps its parameters elsewhere")
    parameters.n_ctx = usual
    return address


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "name") and isinstance(value, int):
        return value.name.split("_TYPE_")[-1].lower()
    return value if isinstance(value, bool | int | float | str) else str(value)


def main() -> None:
    """Parses and prints."""
    library = ctypes.CDLL(xllamacpp.xllamacpp.__file__)
    parse = library[_PARSE]
    parse.restype = ctypes.c_bool
    parameters = xllamacpp.CommonParams()
    words = [word.encode() for word in sys.argv[2:]]
    arguments = (ctypes.c_char_p * (len(words) + 1))(*words, None)
    if not parse(len(words), arguments, ctypes.c_void_p(_address(parameters)), int(sys.argv[1]), None):
        os._exit(1)
    print("TAKEN", flush=True)
    values = {name: _plain(getattr(parameters, name)) for name in _READ_BACK}
    values["model"] = parameters.model.path
    print("PARSED", json.dumps(values), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
