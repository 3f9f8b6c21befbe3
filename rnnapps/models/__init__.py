"""Functional models: keyword arguments in, `keras.Model` out."""

from rnnapps.models.text_generator import text_generator

__all__ = ["text_generator"]
