"""Releases of an engine that follow PEP 440: the normal form of a version, and which scanned release stands for it."""

from collections.abc import Iterable
from dataclasses import dataclass

from fitserve.foundation.errors import InputError
from fitserve.foundation.versions import nearest_not_above, parse_version


@dataclass(frozen=True, slots=True)
class Releases:
    """Releases that were read, oldest first."""

    engine: str
    versions: tuple[str, ...]

    @property
    def newest(self) -> str:
        """The release taken when none is named."""
        return self.versions[-1]

    def normal(self, text: str) -> str:
        """A PEP 440 version. Raises InputError for text that is none."""
        try:
            return str(parse_version(text.strip().removeprefix("v")))
        except ValueError as error:
            raise InputError.of("unknown_version", engine=self.engine, given=text, newest=self.newest) from error

    def is_newer(self, version: str) -> bool:
        """Whether a version is newer than every release that was read."""
        return parse_version(version) > parse_version(self.newest)

    def nearest(self, version: str, among: Iterable[str] | None = None) -> str:
        """The newest release read that is not newer than `version`; the oldest for one that is older than all."""
        known = tuple(among) if among is not None else self.versions
        return nearest_not_above(version, known) or min(known, key=parse_version)


def at_least(version: str, floor: str) -> bool:
    """Whether `version` is `floor` or newer."""
    return parse_version(version) >= parse_version(floor)
