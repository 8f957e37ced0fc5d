"""One subject's targets and predictions; mmengine moves it between devices."""

from mmengine.structures import BaseDataElement


class ShapeSample(BaseDataElement):
    """Targets and predictions of one subject, ``K`` anatomies, ``M`` particles.

    Meta: ``id``, ``anatomies`` (names), ``status`` (one ``AnatomyStatus`` value per anatomy),
    ``spacing`` (mm), ``affine`` (``[4, 4]``, network voxel to patient mm), ``image_shape``
    (voxels before padding), ``seed`` (of what a head draws in training for this sample).

    Targets:
        local_vox: ``[K, M, 3]`` local particles, voxels; zeros where ``has_box`` and ``is_cut`` are
            false.
        world_mm: ``[K, M, 3]`` world particles, mm; zeros where ``has_shape`` is false.
        boxes: ``[K, 6]`` centre and radius, voxels; zeros where ``has_box`` and ``is_cut`` are
            false.
        has_shape: ``[K]`` bool, the particles are in correspondence.
        has_box: ``[K]`` bool, a box exists (the anatomy is whole).
        is_cut: ``[K]`` bool, the volume shows a part of it, and ``local_vox``, in correspondence,
            are known from before it was cut.
        counted: ``[K]`` bool, the heat map's channel counts; false for truncated anatomies, but for
            those cut here whose middle the volume shows.
        forcing_draw: ``[1]`` uniform in [0, 1); below the teacher-forcing probability this
            subject's heads are fed with the truth.
        masks, labelled: where a pipeline loads them, ``[K, X, Y, Z]``, the share of each
            voxel that is inside, and ``[K]`` bool, whether the mask says where the anatomy is.

    Predictions: ``scores`` ``[K]``, ``pred_boxes`` ``[K, 6]`` (voxels), ``pred_local_vox``
    ``[K, M, 3]`` (voxels), ``pred_world_mm`` ``[K, M, 3]`` (mm); of heads that say how sure they
    are also ``pred_deviation_mm`` ``[K, M]``, the standard deviation along the surface's normal; of
    networks that draw masks ``pred_masks`` ``[K, X, Y, Z]``, the share of each voxel inside.
    """
