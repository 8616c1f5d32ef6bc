"""Serves one GGUF with the real llama.cpp on CPU; prints its address and ends when standard input does."""

import os
import sys

import xllamacpp


def main() -> None:
    """Arguments: the file, the context in tokens of all slots, and the slots."""
    parameters = xllamacpp.CommonParams()
    parameters.model.path = sys.argv[1]
    parameters.n_ctx, parameters.n_parallel = int(sys.argv[2]), int(sys.argv[3])
    parameters.n_gpu_layers, parameters.port = 0, 0
    parameters.warmup = False
    server = xllamacpp.Server(parameters)
    print("SERVING", server.listening_address, flush=True)
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
