"""The words of a question, and which of them already mean something."""

from dataclasses import dataclass, field

from fitserve.ask.text import Word, plain_text, words_of


@dataclass(frozen=True, slots=True)
class Spans:
    """Words of a question with those that are taken; finders take words in turn, so that none counts twice."""

    original: str
    plain: str
    words: tuple[Word, ...]
    taken: set[int] = field(default_factory=set)

    @classmethod
    def of(cls, text: str) -> "Spans":
        """The words of a question."""
        plain = plain_text(text)
        return cls(original=text, plain=plain, words=words_of(plain))

    def text(self, index: int) -> str:
        """A word; empty outside the question."""
        return self.words[index].text if 0 <= index < len(self.words) else ""

    def is_free(self, first: int, last: int) -> bool:
        """Whether the words from `first` up to before `last` mean nothing yet."""
        return not any(index in self.taken for index in range(first, last))

    def take(self, first: int, last: int) -> None:
        """Marks words as understood."""
        self.taken.update(range(first, last))

    def take_letters(self, start: int, end: int) -> None:
        """Marks the words that lie between two places of the plain text."""
        self.taken.update(i for i, word in enumerate(self.words) if word.start < end and word.end > start)

    def letters_free(self, start: int, end: int) -> bool:
        """Whether no word between two places of the plain text is taken."""
        return not any(word.start < end and word.end > start for i, word in enumerate(self.words) if i in self.taken)

    def joined(self, first: int, last: int) -> str:
        """Words written as one, without points, as names are looked up."""
        return "".join(word.text for word in self.words[first:last]).replace(".", "")
