"""Starts the installed vLLM with dummy weights for a config.json; prints the cache configuration that its own code derives.

Run as a script by the interpreter that has vLLM, so it imports nothing of this package. One argument, JSON: `folder`,
`parent` (process id), `kv_bytes` and `settings` (arguments of `vllm.LLM`).
"""

import json
import os
import shutil
import signal
import sys
from typing import Any


def tie_to(parent: int, folder: str) -> None:
    """When the parent goes, whatever way, so do this process and the folder (Linux)."""

    def leave(*_: object) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        os.killpg(0, signal.SIGKILL)

    signal.signal(signal.SIGTERM, leave)
    if sys.platform != "linux":
        return
    import ctypes

    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        leave()


def cache_of(llm: Any, platform: str, version: str) -> dict[str, Any]:
    """Groups and blocks of a started engine."""
    core = llm.llm_engine.engine_core
    config = getattr(core, "engine_core", core).scheduler.kv_cache_config
    groups = [
        {
            "kind": type(group.kv_cache_spec).__name__.removesuffix("Spec"),
            "layers": len(group.layer_names),
            "block_tokens": group.kv_cache_spec.block_size,
        }
        for group in config.kv_cache_groups
    ]
    sizes = [tensor.size for tensor in config.kv_cache_tensors]
    # newer releases place all tensors in one allocation and state its size with each of them
    is_shared = any(hasattr(tensor, "block_stride") for tensor in config.kv_cache_tensors)
    total = max(sizes) if is_shared else sum(sizes)
    return {
        "version": version, "platform": platform, "num_blocks": config.num_blocks, "groups": groups,
        "bytes_per_block": total // max(1, config.num_blocks),
        "max_num_seqs": llm.llm_engine.vllm_config.scheduler_config.max_num_seqs,
        "max_num_batched_tokens": llm.llm_engine.vllm_config.scheduler_config.max_num_batched_tokens,
        "async_scheduling": bool(llm.llm_engine.vllm_config.scheduler_config.async_scheduling),
        "prefix_caching": bool(llm.llm_engine.vllm_config.cache_config.enable_prefix_caching),
    }  # fmt: skip


def main() -> None:
    """Prints CACHE and an object, or NO_ENGINE when the package is not there."""
    given = json.loads(sys.argv[1])
    tie_to(given["parent"], given["folder"])
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # one process, so that the engine's own figures can be read
    os.environ["VLLM_CPU_KVCACHE_SPACE"] = str(given["kv_bytes"] >> 30)  # GiB
    try:
        import vllm
        from vllm.platforms import current_platform
    except ImportError as error:
        print("NO_ENGINE", error, flush=True)
        os._exit(3)
    on_cpu = current_platform.is_cpu()
    settings = given["settings"] if on_cpu else {**given["settings"], "kv_cache_memory_bytes": given["kv_bytes"]}
    llm = vllm.LLM(
        model=given["folder"], load_format="dummy", skip_tokenizer_init=True, enforce_eager=True, **settings
    )  # fmt: skip
    name = "cpu" if on_cpu else str(current_platform.device_name)
    print("CACHE", json.dumps(cache_of(llm, name, vllm.__version__)), flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
