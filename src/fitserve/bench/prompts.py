"""Prompts of a load: random words of a counted length, lengths of real conversations, or lines of a file."""

import asyncio
import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fitserve.bench.records import Prompt
from fitserve.bench.server import Counter
from fitserve.foundation.errors import InputError
from fitserve.foundation.facts import load_toml

_WORD_TEXT: Final = (
    "time year people way day man thing woman life child world school state family student group country problem hand "
    "part place case week company system program question work government number night point home water room mother "
    "area money story fact month lot right study book eye job word business issue side kind head house service friend "
    "father power hour game line end member law car city community name president team minute idea kid body back "
    "parent face others level office door health person art war history party result change morning reason research "
    "girl guy moment air teacher force education foot boy age policy music market sense nation plan college interest "
    "death course someone experience behind river stone green light paper table river early later small large under"
)
_WORDS: Final = tuple(_WORD_TEXT.split())
_FILL: Final = (" a", " I", ".", " 1", "b", "\n", "1", "a", ";", " z", "7", "!")
"""What adds one token in some tokenizer, tried in this order where whole words leave a rest."""
_TRIES: Final = 6
_TELLING_WORDS: Final = 8
_LEAST_RATIO: Final = 0.1
_AT_ONCE: Final = 16
_TOKENS_A_WORD: Final = 1.0
_MOST_FILE_BYTES: Final = 1 << 28


@dataclass(frozen=True, slots=True)
class Length:
    """Tokens of a prompt and of its answer."""

    prompt: int
    output: int


def random_lengths(count: int, prompt: int, output: int, spread: float, seed: int) -> list[Length]:
    """`count` lengths, each uniform within `spread` (a share) around its middle, as vLLM's --random-range-ratio."""
    chance = random.Random(seed)  # noqa: S311 - a load, not a secret

    def drawn(middle: int) -> int:
        return chance.randint(max(1, math.floor(middle * (1 - spread))), max(1, math.ceil(middle * (1 + spread))))

    return [Length(drawn(prompt), drawn(output)) if spread else Length(prompt, output) for _ in range(count)]


def conversation_lengths(count: int, seed: int) -> list[Length]:
    """Lengths that spread like those of ShareGPT (`conversations.toml`)."""
    table = load_toml("fitserve.bench", "conversations.toml")
    chance, shape, limits = random.Random(seed), table["shape"]["log_deviation"], table["limits"]  # noqa: S311
    means = table["sharegpt"]["prompt_mean_tokens"], table["sharegpt"]["output_mean_tokens"]
    found: list[Length] = []
    while len(found) < count:
        # exp(mu + s^2 / 2) is the mean of a log-normal distribution
        prompt, output = (round(chance.lognormvariate(math.log(mean) - shape**2 / 2, shape)) for mean in means)
        within = min(prompt, output) >= limits["least_tokens"] and prompt <= limits["most_prompt_tokens"]
        if within and prompt + output <= limits["most_total_tokens"]:
            found.append(Length(prompt, output))
    return found


async def random_prompts(
    lengths: Sequence[Length], seed: int, counter: Counter | None, tokens_a_word: float | None
) -> list[Prompt]:
    """A prompt of random words for each length, no two alike; exact where the server counts.

    Without a counter, `tokens_a_word` is what the server's usage said of other words.
    """
    gate = asyncio.Semaphore(_AT_ONCE)
    ratio = [tokens_a_word or _TOKENS_A_WORD]

    async def made(index: int, length: Length) -> Prompt:
        chance = random.Random(f"{seed}-{index}")  # noqa: S311
        if counter is None:
            words = chance.choices(_WORDS, k=max(1, round(length.prompt / ratio[0])))
            return Prompt(text=" ".join(words), tokens=length.prompt, output_tokens=length.output)
        async with gate:
            text, tokens = await _counted(length.prompt, chance, counter, ratio)
        return Prompt(text=text, tokens=tokens, output_tokens=length.output, is_exact=tokens == length.prompt)

    return list(await asyncio.gather(*(made(index, length) for index, length in enumerate(lengths))))


async def _counted(wanted: int, chance: random.Random, counter: Counter, ratio: list[float]) -> tuple[str, int]:
    """Words until the server counts as many tokens as wanted, or as near below as their pieces allow; and the count.

    `ratio` holds tokens a word and is kept up to date, so that later prompts start near their length.
    """
    words = chance.choices(_WORDS, k=max(1, round(wanted / ratio[0])))
    tokens = await _tokens(counter, words)
    for _ in range(_TRIES):
        missing = wanted - tokens
        if len(words) >= _TELLING_WORDS:
            ratio[0] = max(_LEAST_RATIO, tokens / len(words))
        steps = int(missing / ratio[0])
        if steps > 0:
            words += chance.choices(_WORDS, k=steps)
        elif missing < 0 and len(words) > 1:
            del words[-min(max(1, -steps), len(words) - 1) :]
        else:
            break
        tokens = await _tokens(counter, words)
    while tokens > wanted and len(words) > 1:
        words.pop()
        tokens = await _tokens(counter, words)
    text = " ".join(words)
    for piece in _FILL:
        if tokens >= wanted:
            break
        longer = await counter(text + piece)
        if longer is not None and tokens < longer <= wanted:
            text, tokens = text + piece, longer
    return text, tokens


async def _tokens(counter: Counter, words: Sequence[str]) -> int:
    found: int | None = await counter(" ".join(words))
    return len(words) if found is None else found


def file_prompts(name: str, count: int | None, output_tokens: int | None, default_output: int) -> list[Prompt]:
    """Prompts of a file: JSON lines with `prompt` or `messages`, or a ShareGPT list of conversations.

    `output_tokens` wins over that of a line. Fewer lines than `count` begin again. Raises InputError.
    """
    path = Path(name)
    try:
        if path.stat().st_size > _MOST_FILE_BYTES:
            size = path.stat().st_size
            raise InputError.of("file_too_large", where=name, size_bytes=size, limit_bytes=_MOST_FILE_BYTES)
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError.of("file_missing", where=name, detail=error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise InputError.of("bench_data_broken", where=name, line=1, detail="UTF-8") from error
    rows = _rows(text, name)
    found = [_prompt(row, line, name, output_tokens, default_output) for line, row in rows]
    if not found:
        raise InputError.of("bench_data_broken", where=name, line=1, detail="0")
    wanted = count or len(found)
    return [found[index % len(found)] for index in range(wanted)]


def _rows(text: str, name: str) -> list[tuple[int, Any]]:
    if text.lstrip().startswith("["):
        try:
            return list(enumerate(json.loads(text), 1))
        except (ValueError, RecursionError) as error:
            raise InputError.of("bench_data_broken", where=name, line=1, detail=str(error)[:120]) from error
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                rows.append((number, json.loads(line)))
            except (ValueError, RecursionError) as error:
                raise InputError.of("bench_data_broken", where=name, line=number, detail=str(error)[:120]) from error
    return rows


def _prompt(row: Any, line: int, name: str, output_tokens: int | None, default_output: int) -> Prompt:
    def broken(detail: str) -> InputError:
        return InputError.of("bench_data_broken", where=name, line=line, detail=detail)

    if not isinstance(row, dict):
        raise broken("{}")
    if isinstance(turns := row.get("conversations"), list) and turns and isinstance(turns[0], dict):
        row = {"prompt": turns[0].get("value")} | row
    said = row.get("output_tokens", row.get("max_tokens"))
    tokens = output_tokens or (
        said if isinstance(said, int) and not isinstance(said, bool) and said > 0 else default_output
    )
    messages, text = row.get("messages"), row.get("prompt")
    if isinstance(messages, list) and messages and all(isinstance(message, dict) for message in messages):
        letters = sum(len(str(message.get("content"))) for message in messages)
        return Prompt(messages=tuple(messages), tokens=_rough(letters), output_tokens=tokens)
    if not isinstance(text, str) or not text:
        raise broken("prompt, messages")
    return Prompt(text=text, tokens=_rough(len(text)), output_tokens=tokens)


def _rough(letters: int) -> int:
    """Tokens of a text whose server says no usage: four letters each, which holds for English only."""
    return max(1, letters // 4)
