"""Names as people write them."""

import re

_UPPER = {"rtx", "gtx", "rx", "sxm", "nvl", "gb", "gh", "dgx", "arc", "amd", "sff", "ti", "xt", "xtx"}
_SPECIAL = {"pcie": "PCIe", "ti": "Ti", "gb10": "GB10", "arc": "Arc", "super": "SUPER", "ada": "Ada"}


def gpu_title(gpu_id: str) -> str:
    """`rtx-4090` as RTX 4090, `apple-m3-max` as Apple M3 Max."""
    return " ".join(_word(word) for word in gpu_id.split("-"))


def _word(word: str) -> str:
    if word in _SPECIAL:
        return _SPECIAL[word]
    return word.upper() if word in _UPPER or re.search(r"\d", word) else word.capitalize()


def short_name(model_id: str) -> str:
    """A model without its owner."""
    return model_id.rpartition("/")[2]


def capital(text: str) -> str:
    """A text that begins a cell."""
    return text[:1].upper() + text[1:]
