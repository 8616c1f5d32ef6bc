"""Korean particles that depend on how the word before them ends when it is read aloud."""

_PAIRS = {
    "이라는": ("이라는", "라는"),
    "은": ("은", "는"),
    "이": ("이", "가"),
    "을": ("을", "를"),
    "과": ("과", "와"),
    "으로": ("으로", "로"),
    "이라": ("이라", "라"),
}
_DIGITS_CLOSED = set("013678")  # 영 일 삼 육 칠 팔
_DIGITS_L = set("178")  # 일 칠 팔
_CAPITALS_CLOSED = set("LMNR")  # 엘 엠 엔 알
_CAPITALS_L = set("LR")
_SMALL_CLOSED = set("lmn")


def with_particle(word: str, particle: str) -> str:
    """`word` with the fitting form of `particle`, given in its form after a final consonant."""
    closed, opened = _PAIRS[particle]
    last = next((letter for letter in reversed(word) if letter.isalnum()), "")
    is_closed, is_l = _ending(last)
    if particle == "으로" and is_l:
        return word + opened
    return word + (closed if is_closed else opened)


def _ending(letter: str) -> tuple[bool, bool]:
    """(ends in a consonant, that consonant is ㄹ)."""
    if "가" <= letter <= "힣":
        final = (ord(letter) - ord("가")) % 28
        return final != 0, final == 8
    if letter.isdigit():
        return letter in _DIGITS_CLOSED, letter in _DIGITS_L
    if letter.isupper():
        return letter in _CAPITALS_CLOSED, letter in _CAPITALS_L
    return letter in _SMALL_CLOSED, letter == "l"
