"""Loads one GGUF in the real llama.cpp on CPU with the settings given as JSON; the engine prints its buffers and ends.

A process of its own: the engine writes to file descriptor 2 and keeps its threads to the end.
"""

import json
import os
import sys

import xllamacpp


def main() -> None:
    """Settings by the attribute names of the engine's own parameters."""
    given = json.loads(sys.argv[1])
    parameters = xllamacpp.CommonParams()
    parameters.model.path = given["path"]
    parameters.n_ctx = given["context_tokens"]
    parameters.n_parallel = given["slots"]
    parameters.kv_unified = given["unified"]
    parameters.n_batch, parameters.n_ubatch = 2048, given["micro_batch_tokens"]
    parameters.cache_type_k = parameters.cache_type_v = getattr(
        xllamacpp.ggml_type, f"GGML_TYPE_{given['kv_format'].upper()}"
    )
    parameters.n_gpu_layers, parameters.port = 0, 0
    parameters.verbosity = 4  # from here on the sizes of buffers are printed
    parameters.warmup = False  # the weights are a hole in the file
    parameters.no_extra_bufts = True
    parameters.fit_params = False
    kinds = xllamacpp.llama_flash_attn_type
    parameters.flash_attn_type = (
        kinds.LLAMA_FLASH_ATTN_TYPE_ENABLED if given["flash_attention"] else kinds.LLAMA_FLASH_ATTN_TYPE_DISABLED
    )
    server = xllamacpp.Server(parameters)
    print("LOADED", server.listening_address, flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
