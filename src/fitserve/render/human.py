"""Bytes, counts and rates as people read them."""

from fitserve.foundation.units import GIB, KIB, MIB


def bytes_text(value: float) -> str:
    """`62.4 GiB`, `512 MiB`, `160 KiB`, `96 B`."""
    if abs(value) >= GIB:
        return f"{value / GIB:,.1f} GiB"
    if abs(value) >= MIB:
        return f"{value / MIB:,.0f} MiB"
    if abs(value) >= 10 * KIB:
        return f"{value / KIB:,.0f} KiB"
    return f"{value:,.0f} B"


def count_text(value: float) -> str:
    """`8,192`; fractions keep two places at most."""
    return f"{value:,.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else f"{value:,}"


def params_text(value: float) -> str:
    """`8.03B`, `270M`."""
    return f"{value / 1e9:,.3g}B" if value >= 1e9 else f"{value / 1e6:,.0f}M"


def percent_text(value: float | None) -> str:
    """`0.35 %`; a dash when there is none."""
    return "–" if value is None else f"{value:.2f} %" if abs(value) < 10 else f"{value:.0f} %"
