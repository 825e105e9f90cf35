"""Where files of this program lie that belong to no run."""

import os
import pathlib


def cache_folder() -> pathlib.Path:
    """$XDG_CACHE_HOME/fetal_jax, else ~/.cache/fetal_jax. It need not exist."""
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "fetal_jax"
