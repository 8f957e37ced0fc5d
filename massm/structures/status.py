"""What a subject's label mask says about one anatomy."""

from enum import Enum


class AnatomyStatus(str, Enum):
    """``OK``: whole. ``ABSENT``: no mask file. ``TRUNCATED``: cut by the field of view.
    ``EMPTY``: a mask file without a voxel set (the anatomy is not there)."""

    OK = 'ok'
    ABSENT = 'absent'
    TRUNCATED = 'truncated'
    EMPTY = 'empty'

    @property
    def is_whole(self) -> bool:
        """Whether shape targets exist."""
        return self is AnatomyStatus.OK

    @property
    def is_missing(self) -> bool:
        """Whether a detector should report nothing."""
        return self in (AnatomyStatus.ABSENT, AnatomyStatus.EMPTY)
