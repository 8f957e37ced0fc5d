"""Tables on the screen."""

from rich.console import Console
from rich.table import Table


def show_table(table: Table, width: int | None = None) -> None:
    """Prints a table whose cells and title are text: brackets in the name of a scan, a path or a
    message are no markup, and ``:name:`` is no emoji. ``width`` as of the terminal where none."""
    Console(width=width, markup=False, emoji=False).print(table)
