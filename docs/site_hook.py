"""Pages of the repository that lie outside of docs/ become pages of the site, and links between all
of them stay what they are on the code host: relative to the file."""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
DOCS = 'docs/'
OUTSIDE = ('CHANGELOG.md', 'benchmarks/*.md', 'examples/README.md', 'projects/*/README.md')
LINK = re.compile(r'(?<=\]\()([^)#\s]+)')


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages outside of docs/."""
    for pattern in OUTSIDE:
        for path in sorted(ROOT.glob(pattern)):
            _add(files, path.relative_to(ROOT).as_posix(), config)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links between repository files into links between pages of the site. Other files that a
    page names are copied beside them; what is not there is left as it is, and a strict build
    refuses it."""
    here = page.file.src_uri

    def linked(match: re.Match) -> str:
        target = match[1]
        if ':' in target:
            return target
        folder = posixpath.dirname(_in_repository(here))
        path = posixpath.normpath(posixpath.join(folder, target))
        uri = path.removeprefix(DOCS)
        if files.get_file_from_path(uri) is None and (ROOT / path).is_file():
            _add(files, path, config)
        return posixpath.relpath(uri, posixpath.dirname(here) or '.')

    return LINK.sub(linked, markdown)


def _in_repository(uri: str) -> str:
    """Where a page of the site lies in the repository."""
    return DOCS + uri if (ROOT / DOCS / uri).is_file() else uri


def _add(files: Files, path: str, config: MkDocsConfig) -> None:
    files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
