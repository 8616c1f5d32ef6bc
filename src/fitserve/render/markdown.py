"""Markdown to a page that needs nothing else: one style, light and dark, fit for print."""

import html

from markdown_it import MarkdownIt

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #57606a; --page: #fff; --line: #d8dee4; --code: #f3f5f7; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ed; --soft: #9aa4af; --page: #14171b; --line: #30363d; --code: #1e2329; }
}
body { margin: 0 auto; max-width: 52rem; padding: 2rem 1.25rem 4rem; color: var(--ink); background: var(--page);
  font: 16px/1.6 system-ui, "Apple SD Gothic Neo", "Noto Sans KR", sans-serif;
  word-break: keep-all; overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.25; }
h2 { margin-top: 2.2rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line); }
h3 { margin-top: 1.6rem; }
code, pre { font: .88em/1.5 ui-monospace, "D2Coding", monospace; background: var(--code); border-radius: 4px; }
code { padding: .1em .3em; }
pre { padding: .8rem 1rem; overflow-x: auto; white-space: pre-wrap; }
pre code { padding: 0; }
table { border-collapse: collapse; display: block; overflow-x: auto; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .7rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { color: var(--soft); }
@media print { body { max-width: none; padding: 0; font-size: 11pt; } pre, table { break-inside: avoid; } }
"""


def html_page(markdown: str, title: str, language: str) -> str:
    """A whole page; raw HTML in the text is shown, not run."""
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{html.escape(title)}</title>'
    )
    return f'<!doctype html>\n<html lang="{language}"><head>{head}<style>{_STYLE}</style></head>\n<body>\n{body}</body></html>\n'
