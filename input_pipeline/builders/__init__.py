"""Dataset builders: one folder per dataset, in the layout of TensorFlow Datasets, without TensorFlow.

Each folder's package exports `FACTS` (a `DatasetFacts`) and `Builder` (a TFDS builder class). A dataset is named
`name`, `name/config` or `name:key=value`: `hc18`, `fetal_phantom/both`, `fetal_planes:plane=trans-cerebellum`.
"""

import contextlib
import difflib
import importlib
import os
import pathlib
from collections.abc import Iterator

from absl import logging

from fetal_jax.core.types import DatasetFacts, UserError
from input_pipeline.builders import common

BUILDERS = ("fetal_head_biometry", "fetal_phantom", "fetal_planes", "folder", "hc18", "infant_mri")


def _module(dataset: str):
    name = dataset.split("/")[0]
    if name not in BUILDERS:
        close = difflib.get_close_matches(name, BUILDERS, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise UserError(f"dataset {name!r} is unknown: choose one of {', '.join(BUILDERS)}{hint}")
    return importlib.import_module(f"input_pipeline.builders.{name}")


def canonical(dataset: str) -> str:
    """The canonical name, `name` or `name/config`, of a dataset named in any of the three ways.

    A name without a config means the first one. Raises UserError for a name that is unknown, or a key or value that
    the dataset does not have.
    """
    name, _, options = dataset.partition(":")
    if not options:
        _config(name)
        first = next(iter(_module(name).Builder.builder_configs), None)
        return name if first is None or "/" in name else f"{name}/{first}"
    left = list(_module(name).Builder.builder_configs.values())
    for option in options.split(","):
        key, _, value = option.partition("=")
        known = sorted({config.options[key] for config in left if key in config.options})
        left = [config for config in left if _same(config.options.get(key, ""), value)]
        if not left:
            raise UserError(f"dataset {dataset!r} has no {key}={value}: choose {key} from {', '.join(known) or 'none'}")
    return f"{name}/{left[0].name}"


def _same(a: str, b: str) -> bool:
    return a.replace("_", "-").lower() == b.replace("_", "-").lower()


def _config(dataset: str) -> str | common.Config | None:
    """The config of a canonical name; a dataset that takes any config gets one of that name."""
    name, _, config = dataset.partition("/")
    cls = _module(name).Builder
    known = tuple(cls.builder_configs)
    if not config or config in known:
        return config or None
    if not getattr(cls, "ANY_CONFIG", False):
        raise UserError(f"dataset {dataset!r} has no config {config!r}: choose one of {', '.join(known) or 'none'}")
    if not config.isidentifier():
        raise UserError(f"dataset {dataset!r}: {config!r} is not a valid name: use letters, digits and underscores")
    return common.Config(name=config)


def builder(dataset: str, data_dir: str, **kwargs):
    """The TFDS builder of a dataset under `data_dir`. `kwargs` go to the builder class."""
    dataset = canonical(dataset)
    cls = _module(dataset).Builder
    if "source" in kwargs and not needs_source(dataset):
        raise UserError(f"dataset {dataset!r} is generated: leave out --source")
    with _absl_silent():  # TFDS warns about a config that no class lists
        return cls(data_dir=data_dir, config=_config(dataset), file_format="array_record", **kwargs)


@contextlib.contextmanager
def _absl_silent() -> Iterator[None]:
    before = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(before)


def needs_source(dataset: str) -> bool:
    """Whether the dataset is read from the user's folder; the others are generated."""
    return issubclass(_module(canonical(dataset)).Builder, common.SourceBuilder)


def facts(dataset: str, data_dir: str | os.PathLike | None = None) -> DatasetFacts:
    """The facts of a dataset.

    Those that depend on the user's folder are read from what is prepared under `data_dir`; without `data_dir` they are
    placeholders. Raises UserError for an unknown name, or if the dataset is not prepared there.
    """
    dataset = canonical(dataset)
    module = _module(dataset)
    cls = module.Builder
    if data_dir is not None and getattr(cls, "FACTS_DEPEND_ON_SOURCE", False):
        prepared = builder(dataset, str(data_dir))
        if not prepared.data_path.exists():
            raise UserError(common.not_prepared(dataset, cls.SOURCE))
        return common.stored_facts(common.read_metadata(prepared)) or module.FACTS
    configs = cls.builder_configs
    name = dataset.partition("/")[2] or next(iter(configs), None)
    return getattr(configs.get(name), "facts", None) or module.FACTS


def all_names(data_dir: str | os.PathLike | None = None) -> list[str]:
    """Every built-in `name` or `name/config`, and the user's own that are prepared under `data_dir`."""
    names = []
    for name in BUILDERS:
        cls = _module(name).Builder
        names += [f"{name}/{config}" for config in cls.builder_configs] or [name]
        if data_dir is not None and getattr(cls, "ANY_CONFIG", False):
            folders = sorted(pathlib.Path(data_dir, name).glob("*/*/features.json"))
            names += [f"{name}/{path.parent.parent.name}" for path in folders]
    return names
