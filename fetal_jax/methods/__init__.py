"""Training methods by name: what a stage minimises. A method is a file of this package and a line below."""

from fetal_jax.methods import (  # noqa: F401 (each of them registers its method)
    cps,
    cutmix_mean_teacher,
    mean_teacher,
    self_training,
    supervised,
)
from fetal_jax.methods.base import Method
from fetal_jax.methods.context import Context
from fetal_jax.methods.registry import METHODS, make_method, register

__all__ = ["METHODS", "Context", "Method", "make_method", "register"]
