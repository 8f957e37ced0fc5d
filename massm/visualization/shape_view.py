"""A patient's shapes in the population's: the mean shape that moves along its modes, in a page."""

from collections.abc import Sequence

from massm.visualization.names import label
from massm.visualization.packed import pack
from massm.visualization.scene import EYE, Surface, html_view

MODES = 3


def html_shapes(surfaces: Sequence[Surface], shapes: Sequence, scene: str = 'scene') -> str:
    """A view of each anatomy's mean shape as a ghost around the patient's, in shape space; sliders
    move the mean along its leading modes. Anatomies whose population is not known are left out.

    Args:
        surfaces: of the page's view called ``scene``, whose faces are used again.
        shapes: their :class:`massm.inference.results.ShapeResult`.

    Returns:
        HTML, empty where no population is known.
    """
    told = [
        (number, surface, shape)
        for number, (surface, shape) in enumerate(zip(surfaces, shapes, strict=True))
        if shape.modes is not None
    ]
    if not told:
        return ''
    entries = [_entry(number, surface, shape) for number, surface, shape in told]
    names = ''.join(
        f'<option value="{i}">{label(s.anatomy)}</option>' for i, (_, s, _) in enumerate(told)
    )
    return html_view(
        'shapes', 'shapes', {'scene': scene, 'eye': EYE, 'shapes': entries}, _controls(names)
    )


def _entry(number: int, surface: Surface, shape) -> dict:
    """As ``shapes.js`` reads it: vertices in world mm, of a mode what one standard deviation moves
    them by."""
    kept = surface.drawn.kept
    return {
        'surface': number,
        'mean': pack(shape.modes.mean[kept]),
        'modes': [pack(moved[kept]) for moved in shape.modes.displacements[:MODES]],
        'shares': shape.modes.shares[:MODES].round(4).tolist(),
        'patient': pack(shape.world_vertices[kept]),
        'scores': shape.z_scores[:MODES].round(3).tolist(),
    }


def _controls(names: str) -> str:
    axes = ''.join(_axis(number) for number in range(1, MODES + 1))
    return f"""<label class="chooser">Anatomy <select>{names}</select></label>
<fieldset><legend>Modes of the mean shape</legend>{axes}
<div class="buttons"><button type="button" data-set="patient">Set to the patient</button>
<button type="button" data-set="mean">Mean</button></div>
<p class="note">Points of the moved mean lie <strong class="distance"></strong> from the patient's
on average.</p></fieldset>
<fieldset><legend>Show</legend><label><input type="checkbox" name="mean" checked>
<span class="swatch ghost"></span>moved mean</label><label><input type="checkbox" name="patient"
checked><span class="swatch own"></span>patient</label><label><input type="checkbox" name="beside">
side by side</label></fieldset>"""


def _axis(number: int) -> str:
    """A mode's slider, with the patient's place on it."""
    return f"""<div data-mode="{number}"><div class="mode"><span>Mode {number}</span>
<span class="share"></span><output></output></div>
<div class="axis"><span class="mark"></span><input type="range" step="0.05" min="-2" max="2"
value="0" aria-label="Mode {number}, standard deviations"></div>
<div class="ends"><span></span><span></span><span></span></div><div class="patient"></div></div>"""
