"""Starts the real vLLM on CPU with dummy weights for the config.json in a folder; prints its block accounting."""

import os
import sys

# one process, so that the engine's own figures can be read
os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
os.environ["VLLM_CPU_KVCACHE_SPACE"] = "1"  # GiB

from vllm import LLM


def main() -> None:
    """Arguments: the folder and the context in tokens."""
    llm = LLM(
        model=sys.argv[1],
        max_model_len=int(sys.argv[2]),
        load_format="dummy",
        skip_tokenizer_init=True,
        enforce_eager=True,
    )
    cache = llm.llm_engine.vllm_config.cache_config
    print("BLOCKS", cache.num_gpu_blocks, cache.block_size, flush=True)
    os._exit(0)


if __name__ == "__main__":
    main()
