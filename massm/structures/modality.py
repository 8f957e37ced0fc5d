"""What kind of image a cohort and a model are of, and which values its prepared volumes hold."""

from dataclasses import dataclass

from massm.errors import ConfigError

# An MR has no unit of its own: prepared, 0 is no signal and this its bright tissue
# (:mod:`massm.cohort.intensities`).
BRIGHT = 1000.0


@dataclass(frozen=True)
class Modality:
    """``title`` for people; ``unit`` of a prepared volume, the range ``stored`` that it keeps, and
    ``shown``, from black to white in pictures of it."""

    title: str
    unit: str
    stored: tuple[int, int]
    shown: tuple[float, float]


MODALITIES = {
    'ct': Modality('CT', 'HU', (-1024, 3071), (-200.0, 350.0)),
    'mr': Modality('MR', f'0 to {BRIGHT:g} for bright tissue', (0, 10000), (0.0, BRIGHT)),
}
# How DICOM writes them (0008,0060).
DICOM_MODALITIES = {'CT': 'ct', 'MR': 'mr'}
DEFAULT_MODALITY = 'ct'


def check_modality(name: object, where: str) -> str:
    """``name``, if it is one of :data:`MODALITIES`.

    Raises:
        ConfigError: it is none.
    """
    if name not in MODALITIES:
        raise ConfigError(f'{where}: modality is one of {", ".join(MODALITIES)}; got {name!r}')
    return str(name)
