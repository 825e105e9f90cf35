"""Dataset builders: one folder a dataset, in the layout of TensorFlow Datasets, without TensorFlow.

Each folder's package exports `FACTS` (a `DatasetFacts`) and `Builder` (a TFDS builder class), and `facts`, a function
of the data folder, where they depend on what was prepared. A dataset is named `name` or `name/config`, e.g. `hc18` or
`fetal_phantom/trans_cerebellum`.
"""

import difflib
import importlib
import inspect
import os

from fetal_jax.types import DatasetFacts, UserError

BUILDERS = ("fetal_phantom", "fetal_planes", "folder", "hc18")


def _module(dataset: str):
    name = dataset.split("/")[0]
    if name not in BUILDERS:
        close = difflib.get_close_matches(name, BUILDERS, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise UserError(f"dataset {name!r} is unknown: choose one of {', '.join(BUILDERS)}{hint}")
    return importlib.import_module(f"input_pipeline.builders.{name}")


def facts(dataset: str, data_dir: str | os.PathLike | None = None) -> DatasetFacts:
    """The facts of a dataset named `name` or `name/config`.

    Those of the user's own folder are known once it is prepared under `data_dir`; without one they are placeholders.
    Raises UserError for an unknown name, or if the folder is not prepared.
    """
    module = _module(dataset)
    if data_dir is not None and hasattr(module, "facts"):
        return module.facts(data_dir)
    return module.FACTS


def builder(dataset: str, data_dir: str, **kwargs):
    """The TFDS builder of `name` or `name/config` under `data_dir`. `kwargs` go to the builder class."""
    _, _, config = dataset.partition("/")
    cls = _module(dataset).Builder
    known = tuple(cls.builder_configs)
    if config and config not in known:
        raise UserError(f"dataset {dataset!r} has no config {config!r}: choose one of {', '.join(known) or 'none'}")
    if "source" in kwargs and "source" not in inspect.signature(cls).parameters:
        raise UserError(f"dataset {dataset!r} is generated: leave out --source")
    return cls(data_dir=data_dir, config=config or None, file_format="array_record", **kwargs)


def all_names() -> list[str]:
    """Every `name` or `name/config` that there is."""
    names = []
    for name in BUILDERS:
        configs = _module(name).Builder.builder_configs
        names += [f"{name}/{config}" for config in configs] or [name]
    return names
