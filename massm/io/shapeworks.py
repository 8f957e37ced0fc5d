"""ShapeWorks project files: ``.swproj`` (JSON) both ways, ``.xlsx`` for reading.

A project is a table: one row a subject, and for each domain D (an anatomy) the columns
``shape_D``, ``groomed_D``, ``local_particles_D``, ``world_particles_D``, ``alignment_D`` and
``procrustes_D`` (4x4 matrices, row by row), besides ``name``, ``group_*``, ``excluded`` and
``fixed``. ``group_split`` says train, val or test (or training, validation, testing), for which
ShapeWorks itself has no column. Paths are relative to the project. World particles are procrustes ·
alignment · local ones: in the left-atrium project shipped with ShapeWorks they agree to 6e-4 mm.

Frame: matrices and particles of one project share one frame, that of the meshes it was given;
ShapeWorks changes no sign. Ours are RAS+ mm, and a project written here stays in RAS+.
"""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from massm.errors import ShapeError
from massm.io.atomic import write_text


@dataclass(frozen=True, eq=False)
class ProjectDomain:
    """One anatomy of one subject: files relative to the project (``None`` where there is none)
    and the ``[4, 4]`` matrices from local to world particles, mm."""

    shape: str | None = None
    groomed: str | None = None
    local: str | None = None
    world: str | None = None
    alignment: np.ndarray = field(default_factory=lambda: np.eye(4))
    procrustes: np.ndarray = field(default_factory=lambda: np.eye(4))

    @property
    def mesh(self) -> str | None:
        """The surface its particles lie on: the groomed one where there is one."""
        return self.groomed or self.shape

    @property
    def local_to_world(self) -> np.ndarray:
        """``[4, 4]``: alignment, then procrustes."""
        return self.procrustes @ self.alignment


@dataclass(frozen=True, eq=False)
class ProjectSubject:
    """One row: ``groups`` (column ``group_X`` under ``X``) and the domains by name; whether it is
    ``excluded`` from the analysis, and whether its particles were ``fixed`` while others were laid
    on the model that they make."""

    name: str
    domains: dict[str, ProjectDomain]
    groups: dict[str, str] = field(default_factory=dict)
    excluded: bool = False
    fixed: bool = False


@dataclass(frozen=True, eq=False)
class Project:
    """A whole project: the file it was read from, its domains in order, its subjects, and the
    columns that were not ``read``."""

    path: Path
    domains: tuple[str, ...]
    subjects: tuple[ProjectSubject, ...]
    unread: tuple[str, ...] = ()

    @property
    def included(self) -> list[ProjectSubject]:
        """The subjects that are not excluded."""
        return [subject for subject in self.subjects if not subject.excluded]

    def split_of(self, subject: ProjectSubject) -> str:
        """``train``, ``val`` or ``test``: as the column ``group_split`` says; else what was laid on
        a model of fixed shapes is ``test``.

        Raises:
            ShapeError: the column says anything else.
        """
        named = subject.groups.get('split', '').strip()
        if named:
            return self._split_named(named, subject.name)
        laid_on = any(s.fixed for s in self.included) and not subject.fixed
        return 'test' if laid_on else 'train'

    def _split_named(self, word: str, subject: str) -> str:
        if word.lower() not in SPLITS:
            raise ShapeError(
                f'{self.path}: {subject} has group_split {word!r}; use one of {", ".join(SPLITS)}, '
                'or leave it empty'
            )
        return SPLITS[word.lower()]

    def check_names(self) -> None:
        """Refuses names that two subjects share who are not excluded.

        Raises:
            ShapeError: see above.
        """
        names = [subject.name for subject in self.included]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ShapeError(f'{self.path}: several subjects are called {doubled[0]}; rename them')

    def group_columns(self) -> dict[str, dict[str, str]]:
        """Every group column: from the name of a subject that is not excluded to its value."""
        columns: dict[str, dict[str, str]] = {}
        for subject in self.included:
            for column, value in subject.groups.items():
                columns.setdefault(column, {})[subject.name] = value
        return columns

    def file(self, relative: str) -> Path:
        """A named file's absolute path.

        Raises:
            ShapeError: it lies outside the project's folder, or does not exist.
        """
        folder = self.path.parent.resolve()
        file = (folder / relative).resolve()
        if not file.is_relative_to(folder):
            raise ShapeError(
                f"{self.path}: {relative!r} lies outside the project's folder; move it inside"
            )
        if not file.is_file():
            raise ShapeError(f'{self.path}: names {relative!r}, which does not exist; restore it')
        return file


def read_project(path: Path) -> Project:
    """Reads a ``.swproj`` or ``.xlsx`` project.

    Raises:
        ShapeError: missing, of another format, without subjects, or with a broken matrix.
    """
    path = Path(path)
    if not path.is_file():
        raise ShapeError(f'{path}: no such project; check the path')
    try:
        rows = _xlsx_rows(path) if path.suffix.lower() == '.xlsx' else _json_rows(path)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ShapeError(
            f'{path}: not a ShapeWorks project ({type(error).__name__}: {error}); save it again '
            'from ShapeWorks 6'
        ) from error
    if not rows:
        raise ShapeError(f'{path}: has no subjects; add some in ShapeWorks')
    domains = _domains(rows)
    subjects = [_subject(path, row, domains) for row in rows]
    return Project(path, domains, tuple(_with_names(subjects)), _unread(rows))


def write_project(path: Path, subjects: list[ProjectSubject]) -> None:
    """Writes a project that ShapeWorks Studio 6 opens; domains are those of the subjects."""
    domains = tuple(dict.fromkeys(name for s in subjects for name in s.domains))
    # ShapeWorks numbers its domains unless they are named; one anatomy is domain 1.
    suffixes = {name: '1' if len(domains) == 1 else name for name in domains}
    rows = [_row(subject, suffixes) for subject in subjects]
    project = {'data': rows, 'project': {'version': '2'}, 'groomed': {}, 'optimize': {}}
    write_text(path, json.dumps(project, indent=4) + '\n')


# The words of ``group_split`` and the splits that they mean.
SPLITS = {
    **{'train': 'train', 'val': 'val', 'test': 'test'},
    **{'training': 'train', 'validation': 'val', 'testing': 'test'},
}
_PATHS = {
    'shape': 'shape',
    'groomed': 'groomed',
    'local_particles': 'local',
    'world_particles': 'world',
}


def _json_rows(path: Path) -> list[dict[str, str]]:
    content = json.loads(path.read_text(encoding='utf-8'))
    return [{str(k): str(v) for k, v in row.items() if v is not None} for row in content['data']]


def _xlsx_rows(path: Path) -> list[dict[str, str]]:
    from zipfile import BadZipFile

    from openpyxl import load_workbook

    try:
        book = load_workbook(path, read_only=True, data_only=True)
    except BadZipFile as error:
        raise ValueError('not an Excel file') from error
    table = book['data'] if 'data' in book.sheetnames else book.worksheets[0]
    header, *lines = list(table.iter_rows(values_only=True))
    return [
        {str(k): str(v) for k, v in zip(header, line, strict=False) if None not in (k, v)}
        for line in lines
        if any(cell is not None for cell in line)
    ]


def _domains(rows: list[dict[str, str]]) -> tuple[str, ...]:
    names: dict[str, None] = {}
    for row in rows:
        for column in row:
            for prefix in _PATHS:
                if column.startswith(prefix + '_'):
                    names.setdefault(column.removeprefix(prefix + '_'))
    return tuple(names)


def _unread(rows: list[dict[str, str]]) -> tuple[str, ...]:
    """Columns with content that mean something to ShapeWorks and nothing here."""
    known = ('name', 'excluded', 'fixed', 'group_', 'alignment_', 'procrustes_')
    known += tuple(f'{prefix}_' for prefix in _PATHS)
    columns = {column for row in rows for column, value in row.items() if value.strip()}
    return tuple(sorted(c for c in columns if not c.startswith(known)))


def _is_true(text: str) -> bool:
    return text.strip().lower() in ('true', '1', '1.0', 'yes')


def _subject(path: Path, row: dict[str, str], domains: tuple[str, ...]) -> ProjectSubject:
    """One row; without a name where it tells none."""
    found = {}
    for domain in domains:
        files = {ours: row.get(f'{theirs}_{domain}') or None for theirs, ours in _PATHS.items()}
        if not any(files.values()):
            continue
        found[domain] = ProjectDomain(
            **files,
            alignment=_matrix(path, row, f'alignment_{domain}'),
            procrustes=_matrix(path, row, f'procrustes_{domain}'),
        )
    groups = {k.removeprefix('group_'): v for k, v in row.items() if k.startswith('group_')}
    excluded, fixed = (_is_true(row.get(column, '')) for column in ('excluded', 'fixed'))
    return ProjectSubject(row.get('name', ''), found, groups, excluded, fixed)


def _with_names(subjects: list[ProjectSubject]) -> list[ProjectSubject]:
    """Those without a name are called after their first file, with as many of its folders as tell
    them from one another."""
    parts = {
        i: _parts(subject, f'subject_{i}') for i, subject in enumerate(subjects) if not subject.name
    }
    names: dict[int, str] = {}
    for depth in range(1, 1 + max(map(len, parts.values()), default=0)):
        names = {i: '_'.join(of[-depth:]) for i, of in parts.items()}
        if len(set(names.values())) == len(names):
            break
    return [replace(s, name=names[i]) if i in names else s for i, s in enumerate(subjects)]


def _parts(subject: ProjectSubject, otherwise: str) -> list[str]:
    """The folders and the stem of a subject's first file."""
    first = next((d.mesh or d.local for d in subject.domains.values()), None)
    file = Path(first or otherwise)
    return [*file.parts[:-1], file.stem]


def _matrix(path: Path, row: dict[str, str], column: str) -> np.ndarray:
    text = row.get(column, '').split()
    if not text:
        return np.eye(4)
    try:
        values = np.array(text, dtype=np.float64)
    except ValueError:
        values = np.zeros(0)
    if values.size != 16 or not np.isfinite(values).all():
        raise ShapeError(f'{path}: {column} is not a 4x4 matrix; groom or optimise again')
    return values.reshape(4, 4)


def _row(subject: ProjectSubject, suffixes: dict[str, str]) -> dict[str, Any]:
    row = {'name': subject.name, **{f'group_{k}': v for k, v in subject.groups.items()}}
    for name, domain in subject.domains.items():
        suffix = suffixes[name]
        for theirs, ours in _PATHS.items():
            file = getattr(domain, ours)
            if file is not None:
                row[f'{theirs}_{suffix}'] = file
        for column, matrix in (('alignment', domain.alignment), ('procrustes', domain.procrustes)):
            row[f'{column}_{suffix}'] = ' '.join(f'{value:.10g}' for value in matrix.ravel())
    return row
