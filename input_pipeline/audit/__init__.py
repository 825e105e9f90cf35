"""Audit of a prepared dataset: duplicates, leaks, implausible masks and pixel sizes."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from fetal_jax.core.types import DatasetFacts
from input_pipeline.audit import checks, duplicates, leaks
from input_pipeline.audit.fingerprints import pixel_hash, thumbnail
from input_pipeline.audit.leaks import read_parts
from input_pipeline.audit.report import Audit
from input_pipeline.audit.sheet import write_sheet

__all__ = ["Audit", "Images", "audit", "read_parts", "write_sheet"]


@runtime_checkable
class Images(Protocol):
    """The parts of a dataset that an audit needs; `input_pipeline.dataset.Dataset` has them."""

    name: str
    version: str
    facts: DatasetFacts

    @property
    def names(self) -> Sequence[str]:
        """Of all examples."""

    @property
    def subjects(self) -> Mapping[str, str]:
        """By name."""

    @property
    def labelled(self) -> Mapping[str, bool]:
        """Whether an example is labelled, by name."""

    def __getitem__(self, name: str) -> Any:
        """The record of that name."""


def audit(dataset: Images, parts: Mapping[str, Sequence[str]] | None = None, *, seed: int = 0) -> Audit:
    """All findings in a dataset and, if the `parts` of a split are given, the leaks between them.

    Every image is decoded once; a thumbnail of 16 kB is kept of each. `seed` is that of the random splits by image.
    Raises UserError for a name in `parts` that the dataset does not have.
    """
    subjects = dict(dataset.subjects)
    if parts is not None:
        parts = leaks.resolved(parts, subjects, dataset.name)
    hashes, thumbs, measures = {}, {}, []
    for record in _records(dataset):
        hashes[record.name] = pixel_hash(record.image)
        thumbs[record.name] = thumbnail(record.picture())
        measures.append(checks.measure(record))
    exact = duplicates.exact_groups(hashes, subjects)
    again = {name for group in exact for name in group.names[1:]}
    near = duplicates.near_pairs({name: thumb for name, thumb in thumbs.items() if name not in again}, subjects)
    copies = duplicates.linked([*(group.names for group in exact), *(pair.names for pair in near)])
    return Audit(
        dataset=dataset.name,
        version=dataset.version,
        n_images=len(subjects),
        n_labelled=sum(dataset.labelled.values()),
        n_subjects=len(set(subjects.values())),
        exact=exact,
        near=near,
        masks=checks.check_masks(measures, dataset.facts.classes),
        spacing=checks.check_spacing(measures),
        absent_classes=checks.absent_classes(measures, dataset.facts.classes),
        random_split=leaks.random_split(subjects, seed=seed),
        leaks=None if parts is None else leaks.find_leaks(parts, subjects, copies),
    )


def _records(dataset: Images) -> Iterator[Any]:
    return (dataset[name] for name in dataset.names)
