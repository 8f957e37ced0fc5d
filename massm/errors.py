"""Errors that speak to the person: one sentence with what was wrong, where, and what to do."""

import zipfile
import zlib

# What numpy raises of an NPZ file that is missing, empty, half copied or of something else.
BROKEN_NPZ = (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile, zlib.error)


class MassmError(ValueError):
    """A mistake the user can mend. Command lines print its text alone and exit with code 1."""


class ImageError(MassmError):
    """A volume, mask or mesh file that cannot be used as it is."""


class DatasetError(MassmError):
    """A source folder or a prepared dataset that breaks its format."""


class ShapeError(MassmError):
    """Surfaces or particles that cannot be put into correspondence."""


class ConfigError(MassmError):
    """A config whose parts do not fit together."""


class CheckpointError(MassmError):
    """A checkpoint that is missing, untrusted, or belongs to another config."""
