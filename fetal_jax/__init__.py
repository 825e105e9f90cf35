"""fetal_jax: segmentation of the fetal and infant brain in JAX.

`import fetal_jax` imports nothing heavy: `fetal_jax.load` and `fetal_jax.build_model` are imported at first use.
"""

import importlib

TYPE_CHECKING = False  # type checkers take it for True; typing itself would take longer to import than all of this
if TYPE_CHECKING:
    from fetal_jax.inference.segmenter import load
    from fetal_jax.models import build_model

__all__ = ["__version__", "build_model", "load"]
__version__ = "0.1.0"

_EXPORTED = {"build_model": "fetal_jax.models", "load": "fetal_jax.inference.segmenter"}


def __getattr__(name: str) -> object:
    """The exported function of that name, from its module."""
    if name not in _EXPORTED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_EXPORTED[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
