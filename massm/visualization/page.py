"""The frame of every HTML page: one file, nothing loaded from elsewhere."""

import base64
import gzip
import html
import io
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from PIL import Image

from massm.errors import ConfigError

ROOM = Path(__file__).parent
STYLE = ROOM / 'report.css'
SCRIPTS = ('viewer.js', 'scene.js', 'shapes.js')


def html_page(title: str, body: Sequence[str]) -> str:
    """A whole page; ``title`` is text, ``body`` HTML."""
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,"><title>{html.escape(title)} - MASSM</title>
<style>{STYLE.read_text(encoding='utf-8')}</style></head>
<body><main>{''.join(body)}</main></body></html>
"""


@cache
def html_viewer() -> str:
    """What the views of a page (:func:`massm.visualization.scene.html_view`) need, once a page:
    plotly, compressed, and the scripts that start them.

    Raises:
        ConfigError: plotly is not installed.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise ConfigError('reports need plotly: pip install plotly') from error
    library = base64.b64encode(gzip.compress(get_plotlyjs().encode(), mtime=0)).decode()
    scripts = '\n'.join((ROOM / name).read_text(encoding='utf-8') for name in SCRIPTS)
    return (
        f'<script type="text/plain" id="library">{library}</script>'
        f'<script>(() => {{\n{scripts}}})();</script>'
    )


def html_table(columns: Sequence[str], rows: str, label: str) -> str:
    """A table that scrolls sideways on its own; ``rows`` are HTML, the rest text."""
    head = ''.join(f'<th scope="col">{html.escape(column)}</th>' for column in columns)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{html.escape(label)}">'
        f'<table id="measures"><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def embedded_png(png: bytes, words: str) -> str:
    """An image inside the page; ``words`` for those who do not see it."""
    return _image('png', png, words)


def embedded_photo(png: bytes, words: str) -> str:
    """The same as a JPEG, a fraction as large where there are grey values in it."""
    file = io.BytesIO()
    Image.open(io.BytesIO(png)).convert('RGB').save(file, 'JPEG', quality=85)
    return _image('jpeg', file.getvalue(), words)


def _image(kind: str, data: bytes, words: str) -> str:
    encoded = base64.b64encode(data).decode()
    return f'<img alt="{html.escape(words)}" src="data:image/{kind};base64,{encoded}">'
