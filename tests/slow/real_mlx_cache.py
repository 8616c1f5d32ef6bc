"""Runs a randomly initialised model of a config.json in mlx-lm and prints the bytes that its cache takes."""

import json
import sys
from pathlib import Path

import mlx.core as mx
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.utils import _get_classes

config = json.loads(Path(sys.argv[1], "config.json").read_text())
kind, arguments = _get_classes(config)
model = kind(arguments.from_dict(config))
model.set_dtype(mx.bfloat16)
cache = make_prompt_cache(model)
tokens, bits = int(sys.argv[2]), int(sys.argv[3])
for start in range(0, tokens, 64):
    mx.eval(model(mx.ones((1, min(64, tokens - start)), dtype=mx.int32), cache=cache))
mx.eval(model(mx.ones((1, 1), dtype=mx.int32), cache=cache))  # a decoded token trims what prefill left over the window
if bits:
    cache = [part.to_quantized(group_size=64, bits=bits) for part in cache]
print("BYTES", sum(part.nbytes for part in cache), flush=True)
