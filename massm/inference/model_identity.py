"""Which model made a result, and whether results of two models may be compared point by point."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from massm.io.records import fingerprint

if TYPE_CHECKING:
    from massm.models.massm import MASSM


@dataclass(frozen=True)
class ModelIdentity:
    """``name`` for people; ``correspondences`` a digest of the templates' particles: of two models
    that have it in common, however they were trained, the same particles mean the same points and
    world particles lie in one shape space."""

    name: str
    correspondences: str

    @classmethod
    def of(cls, model: 'MASSM', name: str) -> 'ModelIdentity':
        """That of a ``model`` with templates, which every way of storing it keeps as they are."""
        templates = (model.templates.world_mm, model.templates.mean_world_mm)
        places = [tensor.detach().float().cpu().numpy().tobytes() for tensor in templates]
        return cls(name, fingerprint(*model.anatomies, *places))
