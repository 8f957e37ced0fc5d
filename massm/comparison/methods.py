"""The methods that are compared, and what of each is measured."""

from dataclasses import dataclass
from pathlib import Path

import massm
from massm.errors import ConfigError

MEASURES = {
    'local_rmse_mm': 'Local particles: RMSE, mm',
    'world_rmse_mm': 'World particles: RMSE, mm',
    's2s_mask_mm': 'Local surface to the reference surface, mm',
    's2s_world_mm': 'World surface to the true world surface, mm',
}
# The paper's Figures 2 and 3, each with its local and its world panel.
FIGURES = {
    'figure2_rmse': ('local_rmse_mm', 'world_rmse_mm'),
    'figure3_surface': ('s2s_mask_mm', 's2s_world_mm'),
}


@dataclass(frozen=True)
class Method:
    """A config, by its path in the repository; ``column`` names the columns of ``cases.csv`` that
    hold a measure under another name; ``leaves`` names measures that mean nothing for it; ``note``
    is what a reader of the table must know."""

    name: str
    config: str
    note: str = ''
    column: tuple[tuple[str, str], ...] = ()
    leaves: tuple[str, ...] = ()

    def column_of(self, measure: str) -> str | None:
        """Where ``cases.csv`` has the measure; None where it means nothing."""
        return None if measure in self.leaves else dict(self.column).get(measure, measure)


DRAWN = (('s2s_mask_mm', 's2s_mask_mm_drawn_mask'),)
LOCAL = ('local_rmse_mm', 's2s_mask_mm')
METHODS = {
    method.name: method
    for method in (
        Method('massm_paper', 'configs/reproduce_r18.py', 'the paper’s heads, ResNet-18'),
        Method('massm_r101', 'configs/reproduce_totalseg.py', 'the paper’s network as it is'),
        Method('massm_fit', 'configs/massm_fit_headneck.py', 'shapes fitted to the image'),
        Method(
            'deepssm.l',
            'projects/deepssm/configs/deepssm_l.py',
            'whole image to local particles; world by a rigid fit of these',
        ),
        Method(
            'deepssmF.w',
            'projects/deepssm/configs/deepssm_full_w.py',
            'whole image to world particles',
            leaves=LOCAL,
        ),
        Method(
            'deepssm.w',
            'projects/deepssm/configs/deepssm_w.py',
            'image cropped and turned by the true pose: an upper bound',
            leaves=LOCAL,
        ),
        Method(
            'tl_deepssm.w',
            'projects/deepssm/configs/tl_deepssm_w.py',
            'the TL variant of deepssm.w: an upper bound',
            leaves=LOCAL,
        ),
        Method(
            'unet',
            'projects/unet/configs/unet_per_anatomy.py',
            'a UNet for each anatomy; particles by registration',
            DRAWN,
        ),
        Method(
            'unet_all',
            'projects/unet/configs/unet_all.py',
            'one UNet for all anatomies; particles by registration',
            DRAWN,
        ),
        Method(
            'dynunet_all',
            'projects/unet/configs/dynunet_all.py',
            'one DynUNet for all anatomies; particles by registration',
            DRAWN,
        ),
    )
}
DEFAULT = ('massm_paper', 'massm_fit', 'deepssm.l', 'deepssmF.w', 'deepssm.w', 'unet', 'unet_all')
# Others are tested against these.
REFERENCES = ('massm_paper', 'massm_r101', 'massm_fit')


def repository() -> Path:
    """The checkout that the package lies in.

    Raises:
        ConfigError: there is none: configs and projects are no part of the installed package.
    """
    root = Path(massm.__file__).resolve().parents[1]
    if not all((root / folder).is_dir() for folder in ('configs', 'projects')):
        raise ConfigError(
            f'{root}: has no configs/ and projects/; run tools/reproduce.py in a checkout of the '
            'repository, installed with pip install -e .'
        )
    return root


def chosen(names: list[str]) -> list[Method]:
    """The methods called ``names``.

    Raises:
        ConfigError: there is no such method, or one is named twice.
    """
    unknown = [name for name in names if name not in METHODS]
    if unknown or len(set(names)) < len(names):
        raise ConfigError(
            f'--methods {" ".join(unknown or names)}: give some of {", ".join(METHODS)}, each once'
        )
    return [METHODS[name] for name in names]
