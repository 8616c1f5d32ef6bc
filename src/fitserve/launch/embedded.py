"""The embedded llama.cpp as a server: `python -m fitserve.launch.embedded --model FILE …`, options as of llama-server.

It takes those options of llama-server that commands of this package use and refuses every other by name. The server
itself is llama.cpp's, in this process, by the xllamacpp wheel: its routes, its log, its metrics.
"""

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Any

_SWITCHES = ("on", "off", "auto")
_ENV_KEY = "LLAMA_API_KEY"  # common/arg.cpp, --api-key .set_env


def build(parser: argparse.ArgumentParser) -> None:
    """The options, in llama-server's own names."""
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("-a", "--alias")
    parser.add_argument("-c", "--ctx-size", type=int, default=0)
    parser.add_argument("-np", "--parallel", type=int, default=1)
    parser.add_argument("-b", "--batch-size", type=int)
    parser.add_argument("-ub", "--ubatch-size", type=int)
    parser.add_argument("-t", "--threads", type=int)
    parser.add_argument("-n", "--predict", "--n-predict", type=int)
    parser.add_argument("-ngl", "--gpu-layers", "--n-gpu-layers", default="0")
    parser.add_argument("-fa", "--flash-attn", choices=_SWITCHES, default="auto")
    parser.add_argument("-ctk", "--cache-type-k", default="f16")
    parser.add_argument("-ctv", "--cache-type-v", default="f16")
    parser.add_argument("-kvu", "--kv-unified", action="store_true")
    parser.add_argument("--swa-full", action="store_true")
    parser.add_argument("--no-mmap", action="store_true")
    parser.add_argument("--no-repack", action="store_true")
    parser.add_argument("--embeddings", "--embedding", action="store_true")
    parser.add_argument("--pooling", choices=("none", "mean", "cls", "last", "rank"))
    parser.add_argument("--chat-template")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--api-key")
    parser.add_argument("--metrics", action="store_true", default=True)


def parameters(given: argparse.Namespace, llama: Any) -> Any:
    """The engine's own settings. Raises SystemExit for a cache type that it does not know."""
    made = llama.CommonParams()
    made.model.path = given.model
    made.n_ctx, made.n_parallel = given.ctx_size, given.parallel
    made.hostnames, made.port = [given.host], given.port
    made.n_gpu_layers = (
        999 if given.gpu_layers == "all" else -1 if given.gpu_layers == "auto" else int(given.gpu_layers)
    )
    made.flash_attn_type = getattr(
        llama.llama_flash_attn_type, "LLAMA_FLASH_ATTN_TYPE_" + {"on": "ENABLED", "off": "DISABLED"}.get(given.flash_attn, "AUTO")
    )  # fmt: skip
    made.cache_type_k, made.cache_type_v = (_cache_type(t, llama) for t in (given.cache_type_k, given.cache_type_v))
    made.kv_unified, made.swa_full, made.no_extra_bufts = given.kv_unified, given.swa_full, given.no_repack
    made.embedding, made.endpoint_metrics, made.fit_params = given.embeddings, given.metrics, False
    if given.no_mmap:
        made.load_mode = llama.llama_load_mode.LLAMA_LOAD_MODE_NONE
    for name, value in (("n_batch", given.batch_size), ("n_ubatch", given.ubatch_size), ("n_predict", given.predict)):
        if value is not None:
            setattr(made, name, value)
    if given.threads is not None:
        made.cpuparams.n_threads = made.cpuparams_batch.n_threads = given.threads
    if given.pooling is not None:
        made.pooling_type = getattr(llama.llama_pooling_type, f"LLAMA_POOLING_TYPE_{given.pooling.upper()}")
    if given.chat_template is not None:
        made.chat_template = given.chat_template
    key = given.api_key or os.environ.get(_ENV_KEY)
    if key:
        made.api_keys = [key]
    made.model_alias = {given.alias} if given.alias else set()
    made.verbosity = 4  # from here on the sizes of its buffers are printed
    return made


def _cache_type(name: str, llama: Any) -> Any:
    found = getattr(llama.ggml_type, f"GGML_TYPE_{name.upper()}", None)
    if found is None:
        raise SystemExit(f"error: unknown cache type {name}")
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Serves until it is told to end."""
    parser = argparse.ArgumentParser(prog="llama-server", allow_abbrev=False)
    build(parser)
    given = parser.parse_args(argv)
    import psutil
    import xllamacpp as llama

    resident = psutil.Process().memory_info().rss
    print(f"fitserve: {resident} bytes resident before the model", file=sys.stderr, flush=True)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    try:
        server = llama.Server(parameters(given, llama))
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        os._exit(1)
    print(f"main: server is listening on {server.listening_address}", file=sys.stderr, flush=True)
    while not ended.wait(1.0):
        pass
    os._exit(0)  # the engine keeps threads that do not end on their own


if __name__ == "__main__":
    main()
