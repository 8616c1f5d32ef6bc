"""A document as Markdown: tables with pipes, code in fences, charts left to the tables beside them."""

from fitserve.render.page.document import Block, Bullets, Cell, Code, Document, Figure, Heading, Paragraph, Table


def markdown(document: Document) -> str:
    """The whole document; ends with a line break."""
    parts = [f"# {document.title}", document.eyebrow, *document.summary]
    for section in document.sections:
        parts.append(f"## {section.title}")
        parts += [text for block in section.blocks if (text := _block(block))]
    if document.colophon:
        parts.append(document.colophon)
    return "\n\n".join(part for part in parts if part) + "\n"


def _block(block: Block) -> str:
    if isinstance(block, Table):
        return _table(block)
    if isinstance(block, Bullets):
        return "\n".join(f"- {item}" for item in block.items)
    if isinstance(block, Code):
        title = f"**{block.title}**\n\n" if block.title else ""
        return title + _fenced(block.text, block.language)
    if isinstance(block, Heading):
        return f"### {block.text}"
    if isinstance(block, Figure):
        return ""
    assert isinstance(block, Paragraph)
    return block.text


def _table(table: Table) -> str:
    names = [heading.removeprefix(">") or " " for heading in table.headings]
    rule = ["---:" if heading.startswith(">") else "---" for heading in table.headings]
    lines = [_row(names), _row(rule), *(_row([_cell(cell) for cell in row]) for row in table.rows)]
    caption = f"**{table.caption}**\n\n" if table.caption else ""
    return caption + "\n".join(lines)


def _row(texts: list[str]) -> str:
    return "| " + " | ".join(texts) + " |"


def _cell(cell: Cell) -> str:
    text = f"{cell.text} ({cell.note})" if cell.note else cell.text
    return text.replace("|", "\\|").replace("\n", " ")


def _fenced(text: str, language: str) -> str:
    """A code block whose fence is longer than any in the text."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"
