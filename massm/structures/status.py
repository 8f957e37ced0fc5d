"""What a subject's label mask says about one anatomy."""

from enum import Enum


class AnatomyStatus(str, Enum):
    """``OK``: whole. ``ABSENT``: no mask file. ``TRUNCATED``: cut by the field of view.
    ``EMPTY``: a mask file without a voxel set (the anatomy is not there). ``LOW_CONFIDENCE``: found
    by a network, but so that its shape should be looked at before it is used."""

    OK = 'ok'
    ABSENT = 'absent'
    TRUNCATED = 'truncated'
    EMPTY = 'empty'
    LOW_CONFIDENCE = 'low_confidence'

    @property
    def is_whole(self) -> bool:
        """Whether shape targets exist."""
        return self is AnatomyStatus.OK

    @property
    def is_missing(self) -> bool:
        """Whether a detector should report nothing."""
        return self in (AnatomyStatus.ABSENT, AnatomyStatus.EMPTY)


# What a mask can say; a network can also be unsure.
MASK_STATUSES = tuple(s for s in AnatomyStatus if s is not AnatomyStatus.LOW_CONFIDENCE)
