"""A region around each shape, in the shape's own frame: the image there, turned as the mean shape
is, at as many cells for a small anatomy as for a large one."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from massm.models.shape_fit.posterior import FitState
from massm.models.shape_fit.profiles import Around
from massm.models.shape_fit.shape_prior import Shapes
from massm.ops import sample_patterns, sample_volume

# Distances from the mean surface are told up to this, mm; beyond, a cell is far.
FAR = 15.0


@dataclass(frozen=True)
class Pose:
    """Of B regions of each of K anatomies: ``rotation`` ``[K, B, 3, 3]`` and ``translation``
    ``[K, B, 3]`` (mm, the volume's axes)."""

    rotation: Tensor
    translation: Tensor

    @classmethod
    def of_first(cls, state: FitState, batch: int) -> 'Pose':
        """Of the first of each image's fits, where ``state`` has N, a multiple of ``batch``."""
        each = state.translation.shape[1] // batch
        return cls(state.rotation[:, ::each], state.translation[:, ::each])


@dataclass(frozen=True)
class DrawnRegions:
    """``logits`` ``[K, B, G, G, G]``, positive inside of the anatomy, in regions of a ``pose``."""

    logits: Tensor
    pose: Pose

    def of(self, anatomies: slice) -> 'DrawnRegions':
        """The same of a few ``anatomies``."""
        pose = Pose(self.pose.rotation[anatomies], self.pose.translation[anatomies])
        return DrawnRegions(self.logits[anatomies], pose)


class RegionGrid(nn.Module):
    """Buffers of K regions of ``cells``³: ``corner`` and ``cell`` ``[K, 3]`` (mm, shape space), and
    ``distance`` ``[K, G, G, G]``, of every cell to the mean surface, in [-1, 1], positive outside.

    Args:
        num_anatomies: K.
        cells: G, along each axis.
        margin: that a region leaves around the mean shape, mm.
        spacing: of the volumes, mm.
    """

    def __init__(self, num_anatomies: int, cells: int, margin: float, spacing: float) -> None:
        super().__init__()
        self.cells, self.margin, self.spacing = cells, margin, spacing
        self.register_buffer('corner', torch.zeros(num_anatomies, 3))
        self.register_buffer('cell', torch.ones(num_anatomies, 3))
        self.register_buffer('distance', torch.zeros(num_anatomies, cells, cells, cells))

    def read(self, shapes: Shapes) -> None:
        """Lays the regions around the mean shapes."""
        first, last = shapes.mean.amin(1) - self.margin, shapes.mean.amax(1) + self.margin
        self.corner.copy_(first)
        self.cell.copy_((last - first) / self.cells)
        for k, places in enumerate(self.places().flatten(1, 3)):
            distance, nearest = torch.cdist(places, shapes.mean[k]).min(1)
            normals = shapes.frames[k, nearest, 0]
            outside = ((places - shapes.mean[k, nearest]) * normals).sum(-1).sign()
            told = (outside * distance / FAR).clamp(-1, 1)
            self.distance[k] = told.view(self.distance[k].shape)

    def places(self) -> Tensor:
        """``[K, G, G, G, 3]`` mm: the cells' middles in shape space."""
        steps = torch.arange(self.cells, device=self.cell.device) + 0.5
        steps = torch.stack(torch.meshgrid(steps, steps, steps, indexing='ij'), -1)
        return self.corner[:, None, None, None] + steps * self.cell[:, None, None, None]

    def look(self, volumes: Tensor, pose: Pose) -> Tensor:
        """``[K, B, C, G, G, G]`` of ``volumes`` ``[B, C, X, Y, Z]`` in regions of ``pose``."""
        where = self._where(pose).transpose(0, 1)
        found = sample_volume(volumes, where.flatten(1, 2))
        return found.unflatten(2, (len(self.cell), -1)).permute(2, 0, 1, 3, 4, 5)

    def look_at_own(self, masks: Tensor, pose: Pose) -> Tensor:
        """``[K, B, G, G, G]`` of each anatomy's own of ``masks`` ``[B, K, X, Y, Z]``; zero outside
        of the volume."""
        where = self._where(pose)
        own = masks.transpose(0, 1).flatten(0, 1).unsqueeze(1)
        found = sample_volume(own, where.flatten(0, 1), padding_mode='zeros')
        return found.view(where.shape[:-1])

    def _where(self, pose: Pose) -> Tensor:
        turned = torch.einsum('kbij,kxyzj->kbxyzi', pose.rotation, self.places())
        return (turned + pose.translation[:, :, None, None, None]) / self.spacing

    def profiles(
        self, drawn: DrawnRegions, around: Around, pattern: Tensor, some: slice = slice(None)
    ) -> Tensor:
        """``[K, N, M, S]`` of the drawn regions along the ``pattern`` ``[S, 3]`` (mm) around N
        fits' particles; N is a multiple of B, fits of an image together. All are of ``some``
        anatomies."""
        batch = drawn.logits.shape[1]
        points, frames = (
            x.unflatten(1, (batch, -1)).flatten(2, 3) for x in (around.points, around.frames)
        )
        points = self._cells_of(drawn, points * self.spacing, some)
        cell = self.cell[some, None, None, None]
        frames = (
            torch.einsum('kbpij,kbjc->kbpic', frames * self.spacing, drawn.pose.rotation) / cell
        )
        maps = drawn.logits.flatten(0, 1).unsqueeze(1)
        found = sample_patterns(maps, points.flatten(0, 1), frames.flatten(0, 1), pattern)
        return found.view(*around.points.shape[:3], len(pattern))

    def _cells_of(self, drawn: DrawnRegions, points_mm: Tensor, some: slice) -> Tensor:
        """Fractional cells of ``points_mm`` ``[K, B, P, 3]``; cells' middles are integers."""
        away = points_mm - drawn.pose.translation.unsqueeze(2)
        own = torch.einsum('kbpj,kbjc->kbpc', away, drawn.pose.rotation)
        return (own - self.corner[some, None, None]) / self.cell[some, None, None] - 0.5

    def agreement(self, drawn: DrawnRegions) -> Tensor:
        """``[K, B]`` in [0, 1]: the Dice of what is drawn and the mean shape that it is drawn
        around."""
        inside = (self.distance < 0).unsqueeze(1)
        share = torch.sigmoid(drawn.logits)
        shared, both = (share * inside).sum((2, 3, 4)), (share + inside).sum((2, 3, 4))
        return 2 * shared / both.clamp(min=1)

    def masks(self, drawn: DrawnRegions, i: int, shape: tuple[int, int, int]) -> Tensor:
        """``[K, X, Y, Z]`` half precision, the share of each voxel of the ``i``-th volume of
        ``shape`` that is drawn inside; 0 beyond the regions."""
        masks = torch.zeros(len(self.cell), *shape, dtype=torch.half, device=self.cell.device)
        corners = self.corner + self.cell * self.cells * _CORNERS.to(self.cell).unsqueeze(1)
        turned = torch.einsum('kij,ckj->cki', drawn.pose.rotation[:, i], corners)
        reached = (turned + drawn.pose.translation[:, i]) / self.spacing
        limit = torch.tensor(shape, device=self.cell.device)
        first = reached.amin(0).floor().long().clamp(min=0)
        last = torch.minimum(reached.amax(0).ceil().long() + 1, limit).clamp(min=0)
        for k, ends in enumerate(torch.stack([first, last], -1).tolist()):
            block = tuple(slice(*pair) for pair in ends)
            if masks[k][block].numel():
                masks[k][block] = self._block(drawn, k, i, block)
        return masks

    def _block(
        self, drawn: DrawnRegions, k: int, i: int, block: tuple[slice, slice, slice]
    ) -> Tensor:
        axes = [torch.arange(s.start, s.stop, device=self.cell.device) for s in block]
        voxels = torch.stack(torch.meshgrid(*axes, indexing='ij'), -1).float() * self.spacing
        own = (voxels - drawn.pose.translation[k, i]) @ drawn.pose.rotation[k, i]
        cells = (own - self.corner[k]) / self.cell[k] - 0.5
        inside = ((cells >= -0.5) & (cells <= self.cells - 0.5)).all(-1)
        found = sample_volume(drawn.logits[k, i][None, None], cells[None])
        return found[0, 0].sigmoid().half() * inside


_CORNERS = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 3)
