"""Progress that moves in a terminal and stays readable in a log file."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import track as rich_track

T = TypeVar('T')


def track(items: Iterable[T], total: int, label: str, stderr: bool = False) -> Iterator[T]:
    """Yields ``items``, showing a bar, or a line every tenth part where there is no terminal.

    Args:
        stderr: keep standard output clean, for a program that reads it.
    """
    console = Console(stderr=stderr)
    if console.is_terminal:
        yield from rich_track(items, label, total, console=console)
        return
    step = max(1, total // 10)
    for done, item in enumerate(items, 1):
        yield item
        if done % step == 0 or done == total:
            print(f'{label}: {done}/{total}', file=console.file, flush=True)
