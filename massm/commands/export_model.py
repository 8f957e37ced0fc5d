"""Export a trained model as a folder of data that `infer` reads and nothing can execute from.

Examples:
  python tools/export_model.py configs/massm_r18_paper.py --out models/thorax \\
      --cfg-options data_root=data/thorax
  python tools/export_model.py --network models/thorax network.onnx --size 128 128 128

Without CHECKPOINT the best of the work dir is taken. The card quotes what
`massm test` wrote beside it, if that is of this checkpoint and not of training subjects.
"""

import argparse
from pathlib import Path

from massm.commands.options import add_config_options, add_trust
from massm.errors import ConfigError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument('config', type=Path, nargs='?', help='config of the training')
    parser.add_argument('checkpoint', type=Path, nargs='?', help='weights, .pth')
    parser.add_argument('--out', type=Path, help='folder to write')
    parser.add_argument('--work-dir', help='where training wrote (default work_dirs/CONFIG)')
    parser.add_argument('--licence', default='unstated', help='of the model, for its card')
    size = parser.add_mutually_exclusive_group()
    size.add_argument('--half', action='store_true', help='weights in half precision')
    size.add_argument(
        '--small',
        action='store_true',
        help='weights in eight bits, shape models of 98 %% of the variance: a quarter as large',
    )
    parser.add_argument('--data', default='unstated', help='what it was trained on, for its card')
    parser.add_argument('--limits', default='', help='where it is known to fail, for its card')
    parser.add_argument(
        '--network',
        nargs=2,
        type=Path,
        metavar=('MODEL', 'FILE'),
        help="write a model directory's network alone: FILE.pt2 (torch.export) or FILE.onnx",
    )
    parser.add_argument('--size', type=int, nargs=3, default=(128, 128, 128), help='of its input')
    add_config_options(parser)
    add_trust(parser)


def run(args: argparse.Namespace) -> None:
    """Exports."""
    from massm.apis.checkpoints import find_checkpoint
    from massm.apis.config import load_config
    from massm.apis.export_network import export_network
    from massm.apis.train import resolve_work_dir
    from massm.inference.model_directory import export_model, read_model
    from massm.structures.modality import MODALITIES

    if args.network is not None:
        folder, file = args.network
        model = read_model(folder)
        export_network(model.build(), args.size, file)
        unit = MODALITIES[model.config.modality].unit
        print(f"{file}: volume ({unit}) of {args.size} at the model's spacing in, tensors out")
        return
    if args.config is None or args.out is None:
        raise ConfigError('name a config and --out, or --network MODEL FILE; see --help')
    config = load_config(args.config, args.cfg_options)
    checkpoint = args.checkpoint or find_checkpoint(Path(resolve_work_dir(config, args.work_dir)))
    export_model(
        config,
        checkpoint,
        args.out,
        args.licence,
        args.data,
        args.trust_checkpoint,
        'half' if args.half else 'small' if args.small else 'whole',
        args.limits,
    )
    print(
        f'{args.out}: of {checkpoint}; use it with: massm infer --model {args.out} ct.nii.gz '
        '--out out/'
    )
