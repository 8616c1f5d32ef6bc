"""Writes a tiny Llama with random weights, a tokenizer and chats to train on. Runs with the Python of a trainer's environment.

python tiny_llama.py FOLDER
"""

import json
import sys
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

LINES = ["Does the model fit? It fits when its memory is there.", "가중치와 캐시가 메모리에 들어가면 실행됩니다."] * 8
TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def main() -> None:
    """The model under FOLDER/model, the chats in FOLDER/data.jsonl."""
    folder = Path(sys.argv[1])
    special = ["<|end|>", "<|user|>", "<|assistant|>", "<|system|>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(LINES, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|end|>")
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder / "model")
    config = LlamaConfig(
        hidden_size=256, intermediate_size=512, num_hidden_layers=4, num_attention_heads=8, num_key_value_heads=4,
        vocab_size=512, max_position_embeddings=2048, tie_word_embeddings=False, dtype="bfloat16",
    )  # fmt: skip
    LlamaForCausalLM(config).bfloat16().save_pretrained(folder / "model")
    chats = [
        {"messages": [{"role": "user", "content": line}, {"role": "assistant", "content": line[::-1]}]}
        for line in LINES
    ]
    (folder / "data.jsonl").write_text("".join(json.dumps(chat, ensure_ascii=False) + "\n" for chat in chats))


if __name__ == "__main__":
    main()
