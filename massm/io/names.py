"""Names that become files: of subjects, of anatomies."""

from collections.abc import Sequence

from massm.errors import MassmError

LONGEST_BYTES = 200


def check_name(name: str, where: str, error: type[MassmError]) -> str:
    """``name``, if it can be a file's: nothing that is written under it lands elsewhere.

    Args:
        where: what to say it was found in.
        error: what to raise.

    Raises:
        MassmError: of the kind ``error``: it is empty, hidden, too long, or holds a separator or a
            control character.
    """
    wrong = any(c in '/\\' or not c.isprintable() for c in name)
    if wrong or not name.strip() or name.startswith('.') or len(name.encode()) > LONGEST_BYTES:
        shown = name if len(name) <= 60 else f'{name[:60]}...'
        raise error(
            f'{where}: {shown!r} cannot be the name of a file; use a plain name, without / or \\ '
            'or a dot in front'
        )
    return name


def some_of(names: Sequence[str], most: int = 5) -> str:
    """The first of ``names``, and how many there are."""
    return ', '.join(names[:most]) + (', ...' if len(names) > most else '') + f' ({len(names)})'


def partner_name(name: str) -> str:
    """What ``name`` is in a mirror: ``kidney_left`` a ``kidney_right``, a ``sacrum`` itself."""
    swapped = {'left': 'right', 'right': 'left'}
    return '_'.join(swapped.get(word, word) for word in name.split('_'))
