"""Files that 3D Slicer opens: markups (LPS) and a colour table for label maps."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from massm.io.atomic import write_text

SCHEMA = (
    'https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/'
    'Schema/markups-schema-v1.0.3.json#'
)


def write_markups(path: Path, name: str, points_mm: np.ndarray, seen: np.ndarray) -> None:
    """Writes ``[M, 3]`` points (patient mm, RAS+) as a list of fiducials, in LPS as Slicer's files
    are by default. Points that the image does not show (``seen`` ``[M]`` false) say so."""
    control = [
        {
            'id': str(i),
            'label': f'{name}-{i}',
            'description': '' if visible else 'extrapolated: outside the field of view',
            'position': [round(float(v), 4) for v in point],
            'selected': bool(visible),
            'locked': True,
            'visibility': True,
            'positionStatus': 'defined',
        }
        for i, (point, visible) in enumerate(zip(points_mm * (-1.0, -1.0, 1.0), seen, strict=True))
    ]
    markup = {
        'type': 'Fiducial',
        'coordinateSystem': 'LPS',
        'coordinateUnits': 'mm',
        'locked': True,
        'controlPoints': control,
        'display': {'visibility': True, 'pointLabelsVisibility': False, 'glyphScale': 1.0},
    }
    write_text(path, json.dumps({'@schema': SCHEMA, 'markups': [markup]}) + '\n')


def read_markups(path: Path) -> np.ndarray:
    """``[M, 3]`` points of a markups file in patient mm, RAS+."""
    markup = json.loads(path.read_text(encoding='utf-8'))['markups'][0]
    points = np.array([c['position'] for c in markup['controlPoints']], dtype=np.float64)
    return points if markup['coordinateSystem'] == 'RAS' else points * (-1.0, -1.0, 1.0)


def write_color_table(path: Path, names: Sequence[str], colors: np.ndarray) -> None:
    """Writes a Slicer colour table: label 0 is the background, label k is ``names[k - 1]``. Columns
    are parted by spaces, so a name's own become underscores.

    Args:
        colors: ``[K, 3]`` in [0, 1].
    """
    rows = ['# Slicer colour table: label name R G B A', '0 background 0 0 0 0']
    for label, (name, color) in enumerate(zip(names, colors, strict=True), 1):
        red, green, blue = (round(255 * float(c)) for c in color)
        rows.append(f'{label} {"_".join(name.split())} {red} {green} {blue} 255')
    write_text(path, '\n'.join(rows) + '\n')
