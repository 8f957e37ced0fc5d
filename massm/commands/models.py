"""List the models that `--model` knows by name.

Examples:
  massm models
  MASSM_MODELS=~/models massm models --json

A model is a folder that `massm export` wrote. Looked at are the folders in MASSM_MODELS (several
are separated as in PATH), then those that come with the package.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from massm.errors import MassmError
from massm.inference.model_search import model_folders, named_models


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument('--json', action='store_true', help='for programs')


def run(args: argparse.Namespace) -> int:
    """Lists them; 1 if one of them cannot be read."""
    found = [_described(name, path) for name, path in named_models().items()]
    if args.json:
        print(json.dumps({'folders': [str(f) for f in model_folders()], 'models': found}, indent=1))
    else:
        _show(found)
    return int(any('error' in entry for entry in found))


def _described(name: str, path: Path) -> dict[str, Any]:
    from massm.inference.model_directory import read_metadata

    try:
        metadata = read_metadata(path)
    except MassmError as error:
        return {'name': name, 'path': str(path), 'error': str(error)}
    accuracy = (metadata['accuracy'] or {}).get('mean', {})
    return {
        'name': name,
        'path': str(path),
        'modality': metadata['modality'],
        'spacing_mm': metadata['spacing_mm'],
        'anatomies': metadata['anatomies'],
        'surface_mm': accuracy.get('s2s_mask_mm'),
        'licence': metadata['licence'],
    }


def _show(found: list[dict[str, Any]]) -> None:
    from rich.table import Table

    from massm.io.console import show_table

    if not found:
        print('no model is known by name; looked for in')
    else:
        table = Table('name', 'of', 'voxels mm', 'surface mm', 'anatomies', 'licence')
        for entry in found:
            table.add_row(*_row(entry))
        show_table(table, 120)
        print('looked for in')
    for folder in model_folders():
        print(f'  {folder}' if folder.is_dir() else f'  {folder} (no such folder)')


def _row(entry: dict[str, Any]) -> tuple[str, ...]:
    if 'error' in entry:
        return (entry['name'], '', '', '', f'cannot be read: {entry["error"]}', '')
    surface = entry['surface_mm']
    return (
        entry['name'],
        entry['modality'].upper(),
        f'{entry["spacing_mm"]:g}',
        '' if surface is None else f'{surface:.2f}',
        ', '.join(name.replace('_', ' ') for name in entry['anatomies']),
        entry['licence'],
    )
