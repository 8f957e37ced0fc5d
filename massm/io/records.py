"""What a resumable step left behind: its result, and a fingerprint of all it depended on."""

import hashlib
import json
from pathlib import Path
from typing import Any

from massm.io.atomic import write_text


def fingerprint(*parts: object) -> str:
    """A digest of ``parts``: bytes and the contents of existing files count as they are, anything
    else by its ``repr``."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path) and part.is_file():
            part = part.read_bytes()
        content = part if isinstance(part, bytes) else repr(part).encode()
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()


def write_record(path: Path, digest: str, content: dict[str, Any]) -> None:
    """Writes ``content`` as JSON beside its fingerprint, in one step."""
    write_text(path, json.dumps({**content, 'fingerprint': digest}) + '\n')


def read_record(path: Path, digest: str) -> dict[str, Any] | None:
    """The content of an earlier run; ``None`` where there is none or something has changed."""
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
        return content if content['fingerprint'] == digest else None
    except (OSError, KeyError, TypeError, ValueError):
        return None
