"""Anatomies of a dataset as a ShapeWorks project, its files beside it, one folder an anatomy."""

import filecmp
import json
from dataclasses import replace
from pathlib import Path

from massm.cohort.correspondences import (
    check_built,
    is_imported,
    shapes_folder,
    whole_subjects,
)
from massm.cohort.manifest import Manifest, load_manifest
from massm.errors import DatasetError, ShapeError
from massm.io.atomic import copy_file
from massm.io.names import check_name
from massm.io.shapeworks import (
    Project,
    ProjectDomain,
    ProjectSubject,
    read_project,
    write_project,
)

KINDS = ('groomed', 'local', 'world')


def export_project(root: Path, anatomies: list[str], path: Path) -> None:
    """Writes a project of the dataset's ``anatomies`` with its files in the project's folder:
    subjects who have particles of any of them.

    Raises:
        DatasetError: an anatomy has no particles that hold, what is at ``path`` is no export, or
            another's file is in the way.
    """
    manifest = load_manifest(root)
    _check_target(path)
    rows: dict[str, ProjectSubject] = {}
    copies: dict[Path, Path] = {}
    for anatomy in anatomies:
        source = _source(manifest, check_name(anatomy, '--anatomy', DatasetError))
        for subject in _with_particles(manifest, anatomy, source):
            check_name(subject.name, str(source.path), ShapeError)
            domain = next(iter(subject.domains.values()))
            domain, files = _copied(source, subject.name, domain, anatomy)
            copies |= {path.parent / name: file for name, file in files.items()}
            earlier = rows.get(subject.name)
            domains = {**(earlier.domains if earlier else {}), anatomy: domain}
            groups = {**(earlier.groups if earlier else {}), **subject.groups}
            rows[subject.name] = ProjectSubject(subject.name, domains, groups)
    _check_free(path, copies)
    for target, file in copies.items():
        copy_file(file, target)
    write_project(path, list(rows.values()))


def _source(manifest: Manifest, anatomy: str) -> Project:
    """The project that lies in the anatomy's own folder."""
    file = shapes_folder(manifest, anatomy) / 'project.swproj'
    if anatomy not in manifest.anatomies or not file.is_file():
        raise DatasetError(
            f'{file.parent}: holds no particles; run tools/build_pdm.py {manifest.root}, or choose '
            f'from {", ".join(manifest.anatomies)}'
        )
    check_built(manifest.root, [anatomy])
    return read_project(file)


def _with_particles(manifest: Manifest, anatomy: str, source: Project) -> list[ProjectSubject]:
    """The rows whose particles are those of the dataset; of an import all, as it came."""
    if is_imported(manifest, anatomy):
        return list(source.subjects)
    subjects = whole_subjects(manifest, anatomy)
    own = {subject.id for subject in subjects if subject.anatomies[anatomy].has_particles}
    return [subject for subject in source.subjects if subject.name in own]


def _check_target(path: Path) -> None:
    if path.suffix.lower() != '.swproj':
        raise DatasetError(f'{path}: is no name of a project; call it {path.stem}.swproj')
    if path.exists() and not _is_export(path):
        raise DatasetError(
            f'{path}: is there and was not exported from here, or was worked on since; choose '
            'another name, so that nothing of yours is replaced'
        )


def _is_export(path: Path) -> bool:
    """Whether a project is as :func:`export_project` leaves it: without parameters of ShapeWorks,
    its particles called as :func:`_copied` calls them."""
    try:
        settings = json.loads(path.read_text(encoding='utf-8'))
        rows = read_project(path).subjects
    except (OSError, ValueError):
        return False
    names = [(s.name, domain.local) for s in rows for domain in s.domains.values()]
    called = all(
        local is not None and local.endswith(f'/{s}_local.particles') for s, local in names
    )
    return called and not settings.get('groomed') and not settings.get('optimize')


def _check_free(path: Path, copies: dict[Path, Path]) -> None:
    """Refuses to replace a file that no earlier export to ``path`` names; the same content, as an
    interrupted export leaves it, is in nobody's way."""
    own = _exported(path) if path.exists() else set()
    for target, file in copies.items():
        if not target.exists() or target.resolve() in own:
            continue
        if not filecmp.cmp(file, target, shallow=False):
            raise DatasetError(
                f'{target}: is there and of no earlier export to {path}; choose another folder, so '
                'that nothing of yours is replaced'
            )


def _exported(path: Path) -> set[Path]:
    """The files that an export names."""
    domains = [d for subject in read_project(path).subjects for d in subject.domains.values()]
    names = [getattr(domain, kind) for domain in domains for kind in KINDS]
    return {(path.parent / name).resolve() for name in names if name is not None}


def _copied(
    source: Project, subject: str, domain: ProjectDomain, anatomy: str
) -> tuple[ProjectDomain, dict[str, Path]]:
    """The domain as the export names its files, one folder an anatomy, and the file that each of
    them is a copy of."""
    names, files = {}, {}
    for kind in KINDS:
        relative = getattr(domain, kind)
        if relative is not None:
            file = source.file(relative)
            label = '' if kind == 'groomed' else f'_{kind}'
            names[kind] = f'{anatomy}/{subject}{label}{file.suffix}'
            files[names[kind]] = file
    return replace(domain, shape=names.get('groomed'), **names), files
