"""The guide as a document: its sections in order, and what sums it up."""

from fitserve.guides.types import Guide
from fitserve.render.guide.hardware_sections import abilities_section, checklist_section, system_section, title_of
from fitserve.render.guide.model_sections import (
    context_section,
    engines_section,
    fits_section,
    setups_section,
    speeds_section,
)
from fitserve.render.guide.use_sections import (
    basis_section,
    claims_section,
    commands_section,
    cost_section,
    settings_section,
    split_section,
)  # fmt: skip
from fitserve.render.guide.words import Words, engine_name, format_name, gb_text, model_name
from fitserve.render.page.document import Document, Section
from fitserve.render.speed_text import rate_text
from fitserve.render.texts import Texts


def guide_document(guide: Guide, texts: Texts) -> Document:
    """All sections of a guide in one language."""
    words = Words(texts)
    made = [
        system_section(guide, words), abilities_section(guide, words), setups_section(guide, words), fits_section(guide, words),
        speeds_section(guide, words), engines_section(guide, words), context_section(guide, words),
        commands_section(guide, words),
        settings_section(guide, words), split_section(guide, words), checklist_section(guide, words), cost_section(guide, words),
        claims_section(guide, words), basis_section(guide, words),
    ]  # fmt: skip
    sections: tuple[Section, ...] = tuple(section for section in made if section is not None)
    return Document(
        language=texts.language, title=title_of(guide, words), eyebrow=words("eyebrow"), summary=_summary(guide, words),
        sections=sections, contents_title=words("contents"), colophon=words("colophon"),
    )  # fmt: skip


def _summary(guide: Guide, words: Words) -> tuple[str, ...]:
    """The best set-up in one sentence, then the nearest thing that does not fit."""
    if not guide.setups:
        return (words("no_setup"),)
    item = guide.setups[0].item
    deployment = item.deployment
    longest = 0 if item.budget is None else item.budget.kv.max_context_tokens
    if item.speed is None:
        named = {"model": model_name(deployment.model.id), "format": format_name(deployment.weight_format.name)}
        return (words("summary_plain", named, longest=longest, engine=engine_name(deployment.engine)),)
    rate = rate_text(item.speed.per_user_tok_per_s.likely)
    first = words(
        "summary", model=model_name(deployment.model.id),
        format=format_name(deployment.weight_format.name), rate=rate,
        longest=longest,
        engine=engine_name(deployment.engine),
    )  # fmt: skip
    missed = [row for row in guide.tables[-1].rows if row.lack_bytes and row.file_bytes and not row.item.fits]
    near = min(missed, key=lambda row: row.lack_bytes or 0, default=None)
    if near is None:
        return (first,)
    out = near.item.deployment
    second = words(
        "summary_no", model=model_name(out.model.id), format=format_name(out.weight_format.name), file=gb_text(near.file_bytes),
        lack_bytes=near.lack_bytes or 0,
    )  # fmt: skip
    return first, second
