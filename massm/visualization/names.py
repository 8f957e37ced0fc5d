"""Anatomies' names in words: ``parotid_gland_left`` is the left parotid gland."""

import html

SIDES = ('left', 'right')
# Singular of names that stand for one bone, as TotalSegmentator writes them.
SINGULAR = {'vertebrae': 'vertebra'}


def words(anatomy: str) -> str:
    """A name as a person writes it: its side first, spaces, a capital at the beginning."""
    parts = [SINGULAR.get(part, part) for part in anatomy.split('_') if part]
    sides = [part for part in parts if part in SIDES]
    text = ' '.join([*sides, *(part for part in parts if part not in SIDES)])
    return text[:1].upper() + text[1:]


def label(anatomy: str) -> str:
    """A name in words, as text of a page."""
    return html.escape(words(anatomy))
