"""The frame of every HTML page: one file, nothing loaded from elsewhere."""

import base64
import html
from collections.abc import Sequence
from pathlib import Path

STYLE = Path(__file__).parent / 'report.css'


def html_page(title: str, body: Sequence[str]) -> str:
    """A whole page; ``title`` is text, ``body`` HTML."""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,"><title>{html.escape(title)} - MASSM</title>
<style>{STYLE.read_text(encoding='utf-8')}</style></head>
<body><main>{''.join(body)}</main></body></html>
"""


def html_table(columns: Sequence[str], rows: str, label: str) -> str:
    """A table that scrolls sideways on its own; ``rows`` are HTML, the rest text."""
    head = ''.join(f'<th scope="col">{html.escape(column)}</th>' for column in columns)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{html.escape(label)}">'
        f'<table id="measures"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def embedded_png(png: bytes, words: str) -> str:
    """An image inside the page; ``words`` for those who do not see it."""
    data = base64.b64encode(png).decode()
    return f'<img alt="{html.escape(words)}" src="data:image/png;base64,{data}">'
