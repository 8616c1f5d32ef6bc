"""Loads a GGUF header in llama.cpp's own allocation-only mode; the engine prints what it would allocate.

Run as a script by the interpreter that has xllamacpp, so it imports nothing of this package. One argument, JSON: `path`,
`parent` (process id), and the settings. The pass is the one of `llama-server --fit`: no weights are read, no cache is
allocated. What comes after it has no weights to work with: whoever started this ends it after the answer.
"""

import json
import os
import sys


def tie_to(parent: int) -> None:
    """On Linux the kernel ends this process together with its parent."""
    if sys.platform != "linux":
        return
    import ctypes
    import signal

    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)


def main() -> None:
    """Settings by the names of the plan; prints NO_ENGINE when the package is not there."""
    given = json.loads(sys.argv[1])
    tie_to(given["parent"])
    try:
        import xllamacpp
    except ImportError as error:
        print("NO_ENGINE", error, flush=True)
        os._exit(3)
    print("ENGINE", xllamacpp.__version__, flush=True)
    parameters = xllamacpp.CommonParams()
    parameters.model.path = given["path"]
    parameters.n_ctx, parameters.n_parallel = given["context_tokens"], given["slots"]
    parameters.kv_unified, parameters.swa_full = given["unified"], given["full_window_cache"]
    parameters.n_batch, parameters.n_ubatch = given["batch_tokens"], given["micro_batch_tokens"]
    types = xllamacpp.ggml_type
    parameters.cache_type_k = getattr(types, "GGML_TYPE_" + given["key_format"].upper())
    parameters.cache_type_v = getattr(types, "GGML_TYPE_" + given["value_format"].upper())
    kinds = xllamacpp.llama_flash_attn_type
    flash = kinds.LLAMA_FLASH_ATTN_TYPE_ENABLED if given["flash_attention"] else kinds.LLAMA_FLASH_ATTN_TYPE_DISABLED
    parameters.flash_attn_type = flash
    parameters.n_gpu_layers, parameters.port = 0, 0
    parameters.no_extra_bufts = True  # repacking moves weights between two buffers; together they are the same
    parameters.fit_params, parameters.no_alloc, parameters.warmup = True, True, False
    parameters.load_mode = xllamacpp.llama_load_mode.LLAMA_LOAD_MODE_NONE
    parameters.verbosity = 5  # the pass reports at this level
    xllamacpp.Server(parameters)
    os._exit(0)


if __name__ == "__main__":
    main()
