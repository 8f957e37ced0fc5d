"""A test run as one HTML page: the table of errors, box plots, best and worst case."""

import html
from pathlib import Path

from massm.io.atomic import write_text
from massm.visualization.page import embedded_png, html_page, html_table

FIGURES = {
    'rmse': 'Error of local and world particles',
    'surface': 'Distance between surfaces',
    'case_best': 'Best case',
    'case_worst': 'Worst case',
}


def write_evaluation_page(
    path: Path, title: str, metrics: dict[str, dict], columns: dict[str, str]
) -> None:
    """Writes ``path`` from the figures beside it and the contents of ``metrics.json``.

    Args:
        columns: which measures, with their headings.
    """
    body = [f'<h1>{html.escape(title)}</h1>', _table(metrics, columns)]
    for stem, heading in FIGURES.items():
        for figure in sorted(path.parent.glob(f'{stem}*.png')):
            body.append(f'<h2>{heading}</h2>{embedded_png(figure.read_bytes(), heading)}')
    write_text(path, html_page(title, body))


def _table(metrics: dict[str, dict], columns: dict[str, str]) -> str:
    rows = []
    for name, values in {**metrics['anatomies'], 'all': metrics['mean']}.items():
        cells = ''.join(f'<td>{_cell(values[key])}</td>' for key in columns)
        rows.append(f'<tr><td>{html.escape(name.replace("_", " "))}</td>{cells}</tr>')
    return html_table(('anatomy', *columns.values()), ''.join(rows), 'Errors')


def _cell(value: float | None) -> str:
    return '-' if value is None else f'{value:.3g}'
