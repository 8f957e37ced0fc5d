"""The anatomies' templates inside the model, so that a checkpoint is enough to infer."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from massm.io.templates import ShapeTemplate, read_templates
from massm.structures import Mesh


class TemplateBank(nn.Module):
    """Buffers of K templates.

    ``local_vox`` ``[K, M, 3]`` (voxels, middle of the extent at the origin), ``world_mm`` and
    ``mean_world_mm`` ``[K, M, 3]``, and per anatomy ``vertices_k`` ``[V, 3]``, ``faces_k``
    ``[F, 3]`` and ``local_mm_k`` ``[M, 3]`` (mm, the template's frame), of whatever size
    a loaded checkpoint has.
    """

    def __init__(self, num_anatomies: int, num_particles: int, spacing: float) -> None:
        super().__init__()
        self.num_anatomies, self.num_particles, self.spacing = (
            num_anatomies,
            num_particles,
            spacing,
        )
        shape = (num_anatomies, num_particles, 3)
        for name in ('local_vox', 'world_mm', 'mean_world_mm'):
            self.register_buffer(name, torch.zeros(shape))
        for k in range(num_anatomies):
            self.register_buffer(f'vertices_{k}', torch.zeros(0, 3))
            self.register_buffer(f'faces_{k}', torch.zeros(0, 3, dtype=torch.int32))
            self.register_buffer(f'local_mm_{k}', torch.zeros(num_particles, 3))

    @property
    def is_filled(self) -> bool:
        """Whether templates were read or came with a checkpoint."""
        return bool(self.world_mm.abs().sum() > 0)

    def read(self, root: Path, anatomies: list[str]) -> list[ShapeTemplate]:
        """Fills the buffers from a dataset with correspondences, and returns the templates.

        Raises:
            DatasetError: there are none, or with another number of particles.
        """
        templates = read_templates(root, anatomies, self.num_particles)
        for k, template in enumerate(templates):
            self._set(k, template)
        return templates

    def mesh(self, k: int) -> Mesh:
        """The template surface of anatomy ``k``, mm in the template's frame."""
        vertices = getattr(self, f'vertices_{k}').cpu().numpy()
        return Mesh(vertices, getattr(self, f'faces_{k}').cpu().numpy())

    def particles_mm(self, k: int) -> np.ndarray:
        """``[M, 3]`` particles on :meth:`mesh`, mm in the template's frame."""
        return getattr(self, f'local_mm_{k}').cpu().numpy().astype(np.float64)

    def _set(self, k: int, template: ShapeTemplate) -> None:
        local = torch.as_tensor(template.local / self.spacing)
        self.local_vox[k] = local - (local.amin(0) + local.amax(0)) / 2
        self.world_mm[k] = torch.tensor(template.world)
        self.mean_world_mm[k] = torch.tensor(template.mean_world)
        device = self.world_mm.device
        own = {
            f'vertices_{k}': torch.tensor(template.mesh.vertices, dtype=torch.float32),
            f'faces_{k}': torch.tensor(template.mesh.faces, dtype=torch.int32),
            f'local_mm_{k}': torch.tensor(template.local, dtype=torch.float32),
        }
        for name, value in own.items():
            setattr(self, name, value.to(device))

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        for k in range(self.num_anatomies):
            for name in (f'vertices_{k}', f'faces_{k}'):
                stored: Tensor | None = state_dict.get(prefix + name)
                if stored is not None:
                    setattr(self, name, torch.empty_like(stored, device=self.world_mm.device))
        super()._load_from_state_dict(state_dict, prefix, *args)
