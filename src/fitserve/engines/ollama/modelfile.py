"""The Modelfile, by the grammar of Ollama's parser (parser/parser.go).

A value ends at a line break; around it spaces are cut; a leading quote opens a quoted value; three quotes hold anything
but themselves. Runes that Go calls unprintable (controls, spaces other than the ASCII one) are dropped while reading, so
a name with one of them cannot be written at all.
"""

import unicodedata

_QUOTES = '"""'
_DROPPED = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"}


def can_name(value: str) -> bool:
    """Whether a value survives the parser."""
    unprintable = any(unicodedata.category(rune) in _DROPPED and rune != " " for rune in value)
    return bool(value) and not unprintable and not (value.startswith('"') and _QUOTES in value)


def line(command: str, *words: str) -> str:
    """One command; the last word is its value, whatever it holds. The value must be one that `can_name` accepts."""
    *names, value = words
    needs_quotes = value != value.strip(" ") or value.startswith('"')
    return " ".join([command, *names, f"{_QUOTES}{value}{_QUOTES}" if needs_quotes else value])
