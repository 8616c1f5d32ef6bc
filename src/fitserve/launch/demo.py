"""A small GGUF made on the spot: a Llama with random weights and a real tokenizer. It answers at once, and nonsense.

For the first run on a machine without a network, and for tests. The name that it carries says what it is.
"""

import os
import tempfile
from collections import Counter
from itertools import pairwise
from pathlib import Path

from fitserve.foundation.errors import InputError, WorldError
from fitserve.ledger.places import cache_folder

NAME = "demo"
TITLE = "fitserve-demo-random-weights"
_FORM = 1  # part of the file's name: another layout is another file
_LAYERS, _HIDDEN, _HEADS, _KV_HEADS, _HEAD, _INNER, _VOCABULARY, _CONTEXT = 12, 768, 12, 4, 64, 2048, 1024, 8192
_SPREAD = 0.02  # of the weights, as models are initialised
_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
_SPECIAL = ("<|end|>", "<|system|>", "<|user|>", "<|assistant|>")
_CORPUS = (
    "A model fits a machine when its weights, its key and value cache, its activations and what the engine keeps for "
    "itself are less than the memory of the device. The context sets how large the cache may grow, and the number of "
    "requests at once sets how often it is there. A server that is loaded well gives every user the same rate. "
    "모델의 가중치와 키·값 캐시, 활성값, 그리고 엔진이 따로 잡는 메모리를 더한 값이 장치 메모리보다 작아야 실행됩니다. "
    "컨텍스트가 길수록 캐시가 커지고, 동시에 들어오는 요청이 많을수록 캐시가 여러 벌 필요합니다. "
)


def demo_gguf(folder: Path | None = None) -> Path:
    """The file, made when it is not there (about 170 MB, two seconds).

    Raises InputError when the packages that write it are missing, WorldError when it cannot be written.
    """
    place = folder or cache_folder()
    path = place / f"{TITLE}-{_FORM}-F16.gguf"
    if path.exists():
        return path
    temporary: Path | None = None
    try:
        place.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=place, prefix=f".{path.name}.")
        os.close(handle)
        temporary = Path(name)
        _write(temporary)
        temporary.replace(path)
    except ImportError as error:
        raise InputError.of("extra_missing", package=str(error.name), extra="engines") from error
    except OSError as error:
        raise WorldError(f"write {path}", error.strerror or str(error)) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
    return path


def _write(path: Path) -> None:
    import gguf  # the packages of the extra `engines`
    import numpy as np

    random = np.random.default_rng(20261120)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(TITLE)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_context_length(_CONTEXT)
    writer.add_embedding_length(_HIDDEN)
    writer.add_block_count(_LAYERS)
    writer.add_feed_forward_length(_INNER)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_KV_HEADS)
    writer.add_rope_dimension_count(_HEAD)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(_VOCABULARY)
    _add_tokenizer(writer)
    for name, shape in _shapes():
        if len(shape) == 1:
            writer.add_tensor(name, np.ones(shape, dtype=np.float32))
        else:
            weights = random.standard_normal(shape, dtype=np.float32) * np.float32(_SPREAD)
            writer.add_tensor(name, weights.astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _shapes() -> list[tuple[str, tuple[int, ...]]]:
    """Every tensor with its shape, rows first."""
    head = [("token_embd.weight", (_VOCABULARY, _HIDDEN)), ("output_norm.weight", (_HIDDEN,))]
    rows: list[tuple[str, tuple[int, ...]]] = [*head, ("output.weight", (_VOCABULARY, _HIDDEN))]
    for layer in range(_LAYERS):
        parts = {
            "attn_norm": (_HIDDEN,), "attn_q": (_HEADS * _HEAD, _HIDDEN), "attn_k": (_KV_HEADS * _HEAD, _HIDDEN),
            "attn_v": (_KV_HEADS * _HEAD, _HIDDEN), "attn_output": (_HIDDEN, _HEADS * _HEAD), "ffn_norm": (_HIDDEN,),
            "ffn_gate": (_INNER, _HIDDEN), "ffn_up": (_INNER, _HIDDEN), "ffn_down": (_HIDDEN, _INNER),
        }  # fmt: skip
        rows += [(f"blk.{layer}.{name}.weight", shape) for name, shape in parts.items()]
    return rows


def _add_tokenizer(writer: "object") -> None:
    """Byte-level BPE, trained on a few sentences of ours."""
    import gguf

    assert isinstance(writer, gguf.GGUFWriter)
    alphabet = _byte_letters()
    merges = train_bpe(_CORPUS, alphabet, _VOCABULARY - len(alphabet) - len(_SPECIAL))
    tokens = [*alphabet.values(), *("".join(pair) for pair in merges), *_SPECIAL]
    kinds = [gguf.TokenType.NORMAL] * (len(tokens) - len(_SPECIAL)) + [gguf.TokenType.CONTROL] * len(_SPECIAL)
    missing = _VOCABULARY - len(tokens)
    tokens += [f"<|unused{index}|>" for index in range(missing)]
    kinds += [gguf.TokenType.UNUSED] * missing
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in merges])
    end = tokens.index(_SPECIAL[0])
    writer.add_eos_token_id(end)
    writer.add_bos_token_id(end)
    writer.add_add_bos_token(False)
    writer.add_chat_template(_TEMPLATE)


def _byte_letters() -> dict[int, str]:
    """A printable letter for every byte, as GPT-2's vocabulary has it."""
    kept = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in kept]
    return {byte: chr(byte) for byte in kept} | {byte: chr(256 + index) for index, byte in enumerate(others)}


def train_bpe(text: str, letters: dict[int, str], most: int) -> list[tuple[str, str]]:
    """The merges of a byte-level BPE: at each step the pair that is seen most often (Sennrich et al. 2016)."""
    words = Counter(
        tuple(letters[byte] for byte in (word if index == 0 else f" {word}").encode())
        for index, word in enumerate(text.split())
    )
    merges: list[tuple[str, str]] = []
    while len(merges) < most:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, times in words.items():
            for pair in pairwise(word):
                pairs[pair] += times
        if not pairs:
            break
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        words = Counter({_merged(word, best): times for word, times in words.items()})
    return merges


def _merged(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    made: list[str] = []
    index = 0
    while index < len(word):
        if word[index : index + 2] == pair:
            made.append("".join(pair))
            index += 2
        else:
            made.append(word[index])
            index += 1
    return tuple(made)
