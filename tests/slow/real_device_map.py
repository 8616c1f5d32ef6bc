"""Reads memory limits (JSON) from stdin and prints the sizes of a small Llama and the real device map of each."""

import json
import sys

import torch
import transformers.integrations.accelerate as real
from transformers import LlamaConfig, LlamaForCausalLM

_LAYERS = 8


def main() -> None:
    """`SIZES` with bytes of embeddings, a layer and the head; `MAPS` with the place of every layer for each limit."""
    config = LlamaConfig(
        hidden_size=64, intermediate_size=128, num_hidden_layers=_LAYERS, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=1000, tie_word_embeddings=sys.argv[1] == "tied",
    )  # fmt: skip
    with torch.device("meta"):
        model = LlamaForCausalLM(config).to(torch.bfloat16)
    model.tie_weights()
    real.get_max_memory = dict  # no device is here: take the limits as they are given
    sizes = real.compute_module_sizes(model, None)[0]
    head = sizes[""] - sizes["model.embed_tokens"] - _LAYERS * sizes["model.layers.0"]
    print("SIZES", json.dumps([sizes["model.embed_tokens"], sizes["model.layers.0"], head]))
    maps = []
    for limits in json.load(sys.stdin):
        memory = {**dict(enumerate(limits)), "cpu": 10**9}
        found = real._get_device_map(model, "auto", memory, None)
        keys = [[f"model.layers.{index}", "model.layers", "model", ""] for index in range(_LAYERS)]
        maps.append([next(found[key] for key in names if key in found) for names in keys])
    print("MAPS", json.dumps(maps), flush=True)


if __name__ == "__main__":
    main()
