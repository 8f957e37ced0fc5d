"""Necks of the network."""
