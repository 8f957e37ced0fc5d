"""What every test of this folder tells the table (:mod:`tests.robustness.table`)."""

import pytest

from massm import cli
from tests.robustness.table import PROPERTY


@pytest.fixture
def tell(record_property):
    """``tell(text)``: what came of the input."""
    return lambda text: record_property(PROPERTY, text)


@pytest.fixture(autouse=True)
def tell_refusals(monkeypatch, tell):
    """A command's own sentence, wherever a test provokes one."""
    sentence = cli._sentence

    def told(error):
        text = sentence(error)
        tell(f'refused: {text}')
        return text

    monkeypatch.setattr(cli, '_sentence', told)
