"""What earlier runs of inference left: which files are theirs, and which are somebody else's."""

import json
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from massm.errors import ConfigError, MassmError
from massm.io.digest import content_digest

RESULT_FORMAT = 'massm-result'
Digest = Callable[[Path], str | None]
COHORT_FILES = ('summary.csv', 'project.swproj')
LABEL_FILES = ('labels.nii.gz', 'labels.json', 'labels.ctbl', 'labels.dcm')


def read_result(folder: Path) -> dict | None:
    """The ``result.json`` of a result folder; ``None`` where there is none of ours."""
    try:
        content = json.loads((folder / 'result.json').read_text(encoding='utf-8'))
        ours = content['format'] == RESULT_FORMAT and isinstance(content['anatomies'], dict)
        return content if ours else None
    except (OSError, KeyError, TypeError, ValueError):
        return None


def result_folders(out: Path) -> list[str]:
    """The names of all results in ``out``, sorted."""
    folders = (p for p in out.iterdir() if p.is_dir() and not p.name.startswith('.'))
    return sorted(p.name for p in folders if read_result(p) is not None)


def files_of(folder: Path) -> set[Path]:
    """The files that the result in ``folder`` is made of, as far as they are there."""
    content = read_result(folder)
    if content is None:
        return set()
    named = ['result.json', 'report.html', *LABEL_FILES]
    for entry in content['anatomies'].values():
        named += [entry.get(key) for key in ('local', 'world', 'mesh', 'markups')]
        named += entry.get('meshes', [])
    root = folder.resolve()
    paths = [folder / str(name) for name in named if name]
    return {p for p in paths if p.is_file() and p.resolve().is_relative_to(root)}


def check_replaceable(folder: Path, image: str | Path, series: str | None = None) -> None:
    """Refuses a folder that the result of ``image`` would replace and that is none of it.

    Args:
        series: of a DICOM image: its UID, or the end of one as far as it is known.

    Raises:
        ConfigError: it is a file, or holds something and no result of ours, or that of another
            image or series.
    """
    if folder.exists() and not folder.is_dir():
        raise ConfigError(
            f'{folder}: is a file, where the result of {image} would be; choose another --out, so '
            'that nothing of yours is replaced'
        )
    earlier = read_result(folder)
    if earlier is None and folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(
            f'{folder}: is there and no earlier result (it has no result.json of one); choose '
            'another --out, so that nothing of yours is replaced'
        )
    if earlier is not None and not _is_of(earlier, Path(image)):
        raise ConfigError(
            f'{folder}: is the result of another image ({earlier.get("image")}) than {image}; '
            f'choose another --out, as {folder.parent / "SUBJECT"}, or remove that folder'
        )
    if earlier is not None and not _may_be_of(earlier, series):
        raise ConfigError(
            f'{folder}: is the result of another series ({earlier["series"]}) of {image} than '
            f'{series}; choose another --out, as {folder.parent / "SERIES"}, or remove that folder'
        )


def has_result_of(folder: Path, image: str | Path, series: str | None = None) -> bool:
    """Whether ``folder`` holds an earlier result of ``image``, and of its ``series``; not where the
    image cannot be read so that nobody knows."""
    return _is_result_of(read_result(folder), Path(image), series)


def _is_result_of(
    earlier: dict | None, image: Path, series: str | None, digest: Digest = content_digest
) -> bool:
    try:
        return (
            earlier is not None and _is_of(earlier, image, digest) and _may_be_of(earlier, series)
        )
    except (OSError, MassmError):
        return False


def named_before(
    out: Path, images: Sequence[Path], names: Sequence[str], series: str | None = None
) -> list[str]:
    """The ``names`` of the images' results in ``out``, but where it holds that of an image under
    another name, as a run with other images gave it, that one: else a patient counts twice."""
    known = result_folders(out) if out.is_dir() else []
    others = {name: read_result(out / name) for name in known if name not in names}
    digest = cache(content_digest)  # read once, however many results there are

    def earlier(image: Path, name: str) -> str:
        if (out / name).exists():
            return name
        of_it = (o for o, result in others.items() if _is_result_of(result, image, series, digest))
        found = next(of_it, name)
        others.pop(found, None)  # a copy of the image has a result of its own
        return found

    return [earlier(image, name) for image, name in zip(images, names, strict=True)]


def _may_be_of(earlier: dict, series: str | None) -> bool:
    """Whether a result is of the ``series``, or either does not tell."""
    known = earlier.get('series')
    return not known or not series or str(known).endswith(series)


def _is_of(earlier: dict, image: Path, digest: Digest = content_digest) -> bool:
    """Whether a result is of ``image``: of the same place, where the result tells a whole path, or
    of the same content, wherever that lay then."""
    known, path = earlier.get('image_digest'), Path(str(earlier.get('image')))
    told = path.is_absolute() or not known
    if told and path.resolve() == image.resolve():
        return True
    return bool(known) and known == digest(image)


def check_out(out: Path) -> None:
    """Refuses a folder with a ``summary.csv`` or ``project.swproj`` that no inference wrote.

    Raises:
        ConfigError: see above.
    """
    there = [name for name in COHORT_FILES if (out / name).exists()]
    if there and not (result_folders(out) or _is_our_table(out / COHORT_FILES[0])):
        raise ConfigError(
            f'{out}: holds {there[0]} and no result that it could be of; choose another --out, so '
            'that nothing of yours is replaced'
        )


def _is_our_table(path: Path) -> bool:
    try:
        with path.open(encoding='utf-8') as stream:
            return stream.readline().startswith('subject,anatomy,status,reason,score')
    except (OSError, UnicodeDecodeError):
        return False
