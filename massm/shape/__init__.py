"""Statistics of shape: particles, alignment, correspondences, point distribution models.

Knows no network and no mmengine. Lengths are mm unless a docstring says otherwise.
"""
