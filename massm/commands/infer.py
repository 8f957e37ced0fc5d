"""Find the anatomies of a CT: particles, meshes, masks in the CT's own geometry.

Example: python tools/infer.py configs/massm_r18_phantom.py CHECKPOINT ct.nii.gz --out out/
"""

import argparse
from pathlib import Path

from rich.console import Console
from rich.table import Table

from massm.apis.config import load_config
from massm.apis.inferencer import MASSMInferencer
from massm.apis.results import InferenceResult, write_result
from massm.apis.train import make_writable
from massm.commands.options import add_config, add_trust


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    add_config(parser)
    parser.add_argument('checkpoint', help='weights, .pth')
    parser.add_argument('image', type=Path, help='CT, .nii or .nii.gz, any orientation')
    parser.add_argument('--out', type=Path, required=True, help='folder to write')
    parser.add_argument('--device', help='cpu, cuda, ... (default: what there is)')
    parser.add_argument(
        '--score-threshold', type=float, help="lowest score of an anatomy (default: the model's)"
    )
    add_trust(parser)


def run(args: argparse.Namespace) -> None:
    """Infers one image."""
    config = load_config(args.config, args.cfg_options)
    make_writable(args.out)
    inferencer = MASSMInferencer(
        config, args.checkpoint, args.device, args.score_threshold, args.trust_checkpoint
    )
    result = inferencer(args.image)[0]
    write_result(args.out, result)
    _show(result)
    print(f'particles, meshes, labels.nii.gz and result.json in {args.out}')


def _show(result: InferenceResult) -> None:
    table = Table('anatomy', 'status', 'score', 'volume ml')
    for shape in result.shapes:
        volume = f'{shape.mesh.volume() / 1000:.1f}' if shape.is_present else ''
        table.add_row(shape.anatomy, shape.status.value, f'{shape.score:.2f}', volume)
    Console().print(table)
