"""fetal_jax: segmentation of the fetal and infant brain in JAX.

`import fetal_jax` imports nothing heavy; `fetal_jax.load` does when it is called.
"""

__version__ = "0.1.0"


def load(directory: str):
    """A trained segmenter from a workdir or its `model/`: see `fetal_jax.inference.segmenter.load`."""
    from fetal_jax.inference.segmenter import load as _load

    return _load(directory)
