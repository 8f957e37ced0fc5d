"""What was asked for of a source."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Request:
    """The ``modality``, the table of ``labels`` and the ``channel`` (its number or name) of
    ``--modality``, ``--labels`` and ``--channel``, where they were given; the ``anatomies``."""

    modality: str | None = None
    labels: Path | None = None
    channel: str | None = None
    anatomies: tuple[str, ...] = ()
