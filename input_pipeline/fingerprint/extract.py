"""Extracts the fingerprint of a prepared dataset: all of it from the index, but for the grey values."""

import dataclasses
from collections import Counter

import numpy as np
from jaxtyping import Float, Int64

from input_pipeline.dataset import Dataset
from input_pipeline.fingerprint.dataset_fingerprint import Class, Fingerprint, Sizes, Spacings, Spread
from input_pipeline.fingerprint.intensity import intensities
from input_pipeline.fingerprint.warnings import warnings_of


def extract_fingerprint(dataset: Dataset, sample: int = 500, seed: int = 0) -> Fingerprint:
    """The fingerprint; its grey values are those of at most `sample` examples, drawn by `seed`."""
    index = dataset.index
    drawn = np.random.default_rng(seed).choice(len(dataset), min(sample, len(dataset)), replace=False)
    labelled_subjects = Counter(np.array(index.subjects)[index.labelled].tolist())
    subjects = Counter(index.subjects)
    found = Fingerprint(
        dataset=dataset.name,
        version=dataset.version,
        title=dataset.facts.title,
        subject_rule=dataset.facts.subject_rule,
        dims=dataset.facts.dims,
        n_images=len(dataset),
        n_labelled=int(index.labelled.sum()),
        n_empty=int((index.labelled & ~dataset.class_pixels()[:, 1:].any(axis=1)).sum()),
        n_subjects=len(subjects),
        n_labelled_subjects=len(labelled_subjects),
        n_pool=sum(count for subject, count in subjects.items() if subject not in labelled_subjects),
        images_a_subject=Spread.of(list(subjects.values())),
        labelled_a_subject=Spread.of_any(list(labelled_subjects.values())),
        groups=dict(sorted(Counter(filter(None, index.groups)).items())),
        sizes=_sizes(index.shapes),
        spacing=_spacings(index.spacing_mm),
        classes=_classes(dataset),
        n_sampled=len(drawn),
        intensity=intensities(dataset[index.names[i]].image for i in sorted(drawn)),
        notes=tuple(dataset.notes),
    )
    return dataclasses.replace(found, warnings=warnings_of(found))


def _sizes(shapes: Int64[np.ndarray, "n dims"]) -> Sizes:
    distinct, counts = np.unique(shapes, axis=0, return_counts=True)
    return Sizes(
        axes=tuple(map(Spread.of, shapes.T)),
        longest=Spread.of(shapes.max(axis=1)),
        commonest=tuple(distinct[counts.argmax()].tolist()),
        n_commonest=int(counts.max()),
        n_distinct=len(distinct),
    )


def _spacings(spacing_mm: Float[np.ndarray, "n dims"]) -> Spacings:
    known = spacing_mm[(spacing_mm > 0).all(axis=1)]
    if not len(known):
        return Spacings(0, None, None)
    return Spacings(len(known), tuple(map(Spread.of, known.T)), Spread.of(known.max(axis=1) / known.min(axis=1)))


def _classes(dataset: Dataset) -> tuple[Class, ...]:
    index, labelled = dataset.index, dataset.index.labelled
    pixels, shapes = dataset.class_pixels()[labelled], index.shapes[labelled]
    subject = np.unique(index.subjects, return_inverse=True)[1][labelled]
    pixel_mm = index.spacing_mm[labelled].astype(np.float64).prod(axis=1)  # mm² or mm³; 0 is unknown
    square = shapes.max(axis=1).astype(np.float64) ** dataset.facts.dims
    found = []
    for name, counts in zip(dataset.facts.classes, pixels.T, strict=True):
        shown = counts > 0
        measured = shown & (pixel_mm > 0)
        found.append(
            Class(
                name=name,
                pixels=int(counts.sum()),
                share=float(counts.sum() / pixels.sum()) if len(pixels) else None,
                n_images=int(shown.sum()),
                n_subjects=len(np.unique(subject[shown])),
                presence=float(shown.mean()) if len(pixels) else None,
                extent_px=Spread.of_any(counts[shown]),
                extent_mm=Spread.of_any(counts[measured] * pixel_mm[measured]),
                of_square=Spread.of_any(counts[shown] / square[shown]),
            )
        )
    return tuple(found)
