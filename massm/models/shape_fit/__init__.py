"""Fitting a statistical shape to an image: prior, profiles, offsets, closed-form posterior."""
