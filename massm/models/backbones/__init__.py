"""Backbones of the network."""
