"""Exchange shapes with ShapeWorks: a project into a dataset, a dataset's anatomy into a project.

Examples:
  python tools/shapeworks.py import left_atrium.swproj data/atria --anatomy left_atrium
  python tools/shapeworks.py export data/atria --anatomy left_atrium out/atria.swproj

With several domains, name each: --anatomy femur --anatomy pelvis (in the project's order).
"""

import argparse
from pathlib import Path

from massm.commands.options import check_spacing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    actions = parser.add_subparsers(dest='action', required=True)
    bring = actions.add_parser('import', help='a .swproj or .xlsx project into a dataset')
    bring.add_argument('project', type=Path, help='.swproj or .xlsx')
    bring.add_argument('dataset', type=Path, help='folder; made if it is not there')
    bring.add_argument('--anatomy', action='append', required=True, help='name of each domain')
    bring.add_argument('--spacing', type=float, default=3.0, help='of a new dataset, mm')
    take = actions.add_parser('export', help='anatomies of a dataset as a .swproj project')
    take.add_argument('dataset', type=Path, help='folder with dataset.json')
    take.add_argument('--anatomy', action='append', required=True, help='repeat for several')
    take.add_argument('project', type=Path, help='.swproj to write; its files lie beside it')


def run(args: argparse.Namespace) -> None:
    """Imports or exports.

    Raises:
        ConfigError: a spacing that makes no sense.
        ShapeError, DatasetError: the project or the dataset cannot be used.
    """
    from massm.cohort.shapeworks_export import export_project
    from massm.cohort.shapeworks_import import import_project

    if args.action == 'export':
        export_project(args.dataset, args.anatomy, args.project)
        print(f'{args.project}: {", ".join(args.anatomy)}')
        return
    check_spacing(args.spacing)
    remarks = import_project(args.project, args.dataset, args.anatomy, args.spacing)
    for remark in remarks:
        print(f'note: {remark}')
    print(f'{args.dataset}: {", ".join(args.anatomy)} from {args.project}')
