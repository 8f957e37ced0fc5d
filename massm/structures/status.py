"""What is known of one anatomy in one subject."""

from enum import Enum


class AnatomyStatus(str, Enum):
    """``OK``: whole. ``TRUNCATED``: cut by the field of view, by the imaged body or where its
    annotation stops. ``EMPTY``: a mask file without a voxel set, so it is known not to be there.
    ``ABSENT``: known not to be there in another way (removed, or a source that leaves out files on
    purpose). ``UNLABELLED``: nobody looked, so nothing is known. ``LOW_CONFIDENCE``: found by a
    network, but so that its shape should be looked at before it is used."""

    OK = 'ok'
    TRUNCATED = 'truncated'
    EMPTY = 'empty'
    ABSENT = 'absent'
    UNLABELLED = 'unlabelled'
    LOW_CONFIDENCE = 'low_confidence'

    @property
    def is_whole(self) -> bool:
        """Whether shape targets exist."""
        return self is AnatomyStatus.OK

    @property
    def is_missing(self) -> bool:
        """Whether it is known not to be there: a detector should report nothing."""
        return self in (AnatomyStatus.ABSENT, AnatomyStatus.EMPTY)

    @property
    def is_labelled(self) -> bool:
        """Whether anything is known: else it teaches nothing and counts nowhere."""
        return self is not AnatomyStatus.UNLABELLED


# What a mask can say; a network can also be unsure.
MASK_STATUSES = tuple(s for s in AnatomyStatus if s is not AnatomyStatus.LOW_CONFIDENCE)
