"""Roi heads of the network."""
