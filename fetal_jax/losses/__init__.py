"""Losses by name: the terms of which objectives are made. A loss is a file of this package and a line below."""

from fetal_jax.losses import (  # noqa: F401 (each of them registers its terms)
    cross_entropy,
    overlap,
)
