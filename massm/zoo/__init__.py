"""Trained models that come with the package: a folder each, as ``massm export`` writes it.

``massm models`` lists them, ``--model NAME`` takes one (:mod:`massm.inference.model_search`).
"""
