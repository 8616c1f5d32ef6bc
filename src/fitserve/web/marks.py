"""Small drawings that stand beside words: one shape a verdict and one a basis, so that colour alone never carries them."""

from markupsafe import Markup

_VERDICTS = {
    "fits": '<circle cx="8" cy="8" r="7.2" class="full"/><path class="cut" d="M4.4 8.3l2.5 2.6 4.8-5.4"/>',
    "tight": '<circle cx="8" cy="8" r="6.4" class="ring"/><path class="full" d="M8 1.6a6.4 6.4 0 0 1 0 12.8z"/>',
    "no": '<path class="full" d="M1.5 1.5h13v13h-13z"/><path class="cut" d="M5 5l6 6m0-6l-6 6"/>',
    "unsup": '<path class="full" d="M5 1h6l4 4v6l-4 4H5l-4-4V5z"/><path class="cut" d="M4.5 8h7"/>',
    "unknown": '<circle cx="8" cy="8" r="6.4" class="ring dash"/><path class="ring" d="M5 8h6"/>',
}
_BASES = {
    "exact": '<path class="m" d="M1 1h10v10H1z"/>',
    "measured": '<circle class="m" cx="6" cy="6" r="5"/>',
    "fitted": '<circle class="f-ring" cx="6" cy="6" r="4.3"/><path class="f" d="M6 1.7a4.3 4.3 0 0 1 0 8.6z"/>',
    "estimated": '<circle class="e-ring" cx="6" cy="6" r="4.3"/>',
}


def verdict_mark(state: str) -> Markup:
    """The shape of a verdict: fits, tight, no, unsup or unknown."""
    return Markup(f'<svg class="vm" viewBox="0 0 16 16" aria-hidden="true">{_VERDICTS[state]}</svg>')  # noqa: S704


def basis_mark(kind: str) -> Markup:
    """The shape of what a figure rests on."""
    drawn = _BASES.get(kind, _BASES["estimated"])
    return Markup(f'<svg class="bm" viewBox="0 0 12 12" aria-hidden="true">{drawn}</svg>')  # noqa: S704
