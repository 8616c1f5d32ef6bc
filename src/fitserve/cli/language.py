"""Which language to answer in: `--lang`, else the locale of the environment."""

import os
from collections.abc import Sequence

from fitserve.render.texts import LANGUAGES


def language_of(argv: Sequence[str]) -> str:
    """`ko` or `en`; an unknown value of --lang is reported later, by the request, in the language of the environment."""
    for index, word in enumerate(argv):
        value = (
            word.removeprefix("--lang=")
            if word.startswith("--lang=")
            else argv[index + 1]
            if word == "--lang" and index + 1 < len(argv)
            else ""
        )
        if value in LANGUAGES:
            return value
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        value = os.environ.get(name, "")
        if value:
            return "ko" if value.lower().startswith("ko") else "en"
    return "en"
