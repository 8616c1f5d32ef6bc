"""A document as one HTML page: styles and charts inside, no script, no reference to anything outside."""

import re
from functools import lru_cache
from html import escape
from importlib.resources import files

from fitserve.render.page.document import (
    Block,
    Bullets,
    Cell,
    Code,
    Document,
    Figure,
    Heading,
    Paragraph,
    Section,
    Table,
)

_INLINE = re.compile(r"`([^`]+)`|\*\*([^*]+)\*\*")
_UNIT = re.compile(r"(\d) (GiB|MiB|KiB|GB|B|tok/s|TFLOPS|W|kWh|%|ms|s|µs)(?![A-Za-z])")
_SIGNS = {
    "fits": '<circle cx="8" cy="8" r="7" fill="currentColor"/><path class="mark" d="M4.5 8.2l2.4 2.5 4.6-5.2"/>',
    "tight": '<circle cx="8" cy="8" r="6.4" class="ring"/><path d="M8 1.6a6.4 6.4 0 0 1 0 12.8z" fill="currentColor"/>',
    "no": '<path d="M2 2h12v12H2z" fill="currentColor"/><path class="mark" d="M5 5l6 6m0-6l-6 6"/>',
    "unsup": '<path d="M5 1h6l4 4v6l-4 4H5l-4-4V5z" fill="currentColor"/><path class="mark" d="M4.5 8h7"/>',
    "unknown": '<circle cx="8" cy="8" r="6.4" class="ring"/><path class="ring" d="M5 8h6"/>',
}
"""One shape a verdict, so that colour alone never carries it."""
_LONG = 36
"""Letters from which a cell stands on a line of its own on narrow screens."""


@lru_cache(maxsize=1)
def styles() -> str:
    """The style sheet: tokens first, then the page."""
    folder = files("fitserve.render.page")
    return "".join(folder.joinpath(name).read_text(encoding="utf-8") for name in ("tokens.css", "page.css"))


def html(document: Document) -> str:
    """The whole page; the same bytes for the same document."""
    sections = "\n".join(_section(section) for section in document.sections)
    contents = "".join(f'<li><a href="#{s.id}">{escape(s.title)}</a></li>' for s in document.sections)
    summary = "".join(f"<p>{inline(text)}</p>" for text in document.summary)
    return (
        f'<!DOCTYPE html>\n<html lang="{document.language}">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(document.title)} · fitserve</title>\n<style>\n{styles()}</style>\n</head>\n<body>\n"
        f'<header class="head"><p class="eyebrow">{escape(document.eyebrow)}</p>\n<h1>{escape(document.title)}</h1>\n'
        f'<div class="summary">{summary}</div></header>\n'
        f'<nav class="contents" aria-label="{escape(document.contents_title)}"><ol>{contents}</ol></nav>\n'
        f"<main>\n{sections}\n</main>\n<footer><p>{inline(document.colophon)}</p></footer>\n</body>\n</html>\n"
    )


def inline(text: str) -> str:
    """A text with its code and bold parts."""
    text = _UNIT.sub("\\1\u00a0\\2", text)  # a number and its unit stay on one line
    parts, end = [], 0
    for match in _INLINE.finditer(text):
        parts.append(escape(text[end : match.start()]))
        code, bold = match.groups()
        parts.append(f"<code>{escape(code)}</code>" if code is not None else f"<b>{escape(bold)}</b>")
        end = match.end()
    return "".join(parts) + escape(text[end:])


def _section(section: Section) -> str:
    blocks = "\n".join(_block(block) for block in section.blocks)
    return f'<section id="{section.id}" class="plate">\n<h2>{escape(section.title)}</h2>\n{blocks}\n</section>'


def _block(block: Block) -> str:
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Bullets):
        return "<ul>" + "".join(f"<li>{inline(item)}</li>" for item in block.items) + "</ul>"
    if isinstance(block, Code):
        title = f'<p class="cap">{inline(block.title)}</p>' if block.title else ""
        return f'<div class="code">{title}<pre tabindex="0"><code>{escape(block.text.rstrip())}</code></pre></div>'
    if isinstance(block, Heading):
        return f"<h3>{escape(block.text)}</h3>"
    if isinstance(block, Figure):
        caption = f"<figcaption>{inline(block.caption)}</figcaption>" if block.caption else ""
        return f"<figure>{block.svg}{caption}</figure>"
    assert isinstance(block, Paragraph)
    return f'<p class="cap">{inline(block.text)}</p>' if block.is_note else f"<p>{inline(block.text)}</p>"


def _table(table: Table) -> str:
    heads = "".join(f'<th scope="col"{_figure(name)}>{escape(name.removeprefix(">"))}</th>' for name in table.headings)
    caption = f"<caption>{escape(table.caption)}</caption>" if table.caption else ""
    rows = "".join(f"<tr>{_cells(table.headings, row)}</tr>\n" for row in table.rows)
    return f'<div class="scroll"><table>{caption}<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}</tbody></table></div>'


def _cells(headings: tuple[str, ...], row: tuple[Cell, ...]) -> str:
    """Cells carry their heading, which narrow screens show beside them."""
    made = []
    for index, (heading, cell) in enumerate(zip(headings, row, strict=True)):
        note = f' <span class="cap">{inline(cell.note)}</span>' if cell.note else ""
        text = inline(cell.text)
        if cell.verdict is not None:
            text = f'<span class="v v-{cell.verdict}">{_sign(cell.verdict)}{text}</span>'
        label = "" if index == 0 else f' data-label="{escape(heading.removeprefix(">"))}"'
        tag = 'th scope="row"' if index == 0 else "td"
        kind = ' class="text"' if not heading.startswith(">") and len(cell.text) > _LONG else _figure(heading)
        made.append(f"<{tag}{kind}{label}>{text}{note}</{tag.split()[0]}>")
    return "".join(made)


def _figure(heading: str) -> str:
    return ' class="num"' if heading.startswith(">") else ""


def _sign(verdict: str) -> str:
    return f'<svg viewBox="0 0 16 16" aria-hidden="true">{_SIGNS[verdict]}</svg>'
