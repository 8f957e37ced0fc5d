"""MASSM: multi-anatomy statistical shape modelling directly from CT volumes."""

__version__ = '0.2.0'
