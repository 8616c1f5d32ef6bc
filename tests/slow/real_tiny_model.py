"""Writes a tiny random Llama with a tokenizer into the folder given."""

import sys

from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

words = {word: index for index, word in enumerate(["<unk>", "<s>", "</s>", *"abcdefghijklmnopqrstuvwxyz:"])}
tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
PreTrainedTokenizerFast(
    tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
).save_pretrained(sys.argv[1])
LlamaForCausalLM(
    LlamaConfig(
        hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        vocab_size=len(words), max_position_embeddings=256, bos_token_id=1, eos_token_id=2,
    )
).to("cpu").save_pretrained(sys.argv[1])  # fmt: skip
