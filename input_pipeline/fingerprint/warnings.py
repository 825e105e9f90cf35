"""Warnings about a dataset, for the user before training."""

from collections.abc import Iterator

from input_pipeline.fingerprint.dataset_fingerprint import Fingerprint

FEW_SUBJECTS = 20  # 15 % of fewer are less than 3: a test score is then the luck of one or two
OBLONG = 1.05  # a pixel longer than this against its width shows in a measured circumference


def warnings_of(found: Fingerprint) -> tuple[str, ...]:
    """One line per warning, the most serious first."""
    return (*_labels(found), *_subjects(found), *_spacing(found))


def _labels(found: Fingerprint) -> Iterator[str]:
    if not found.n_labelled:
        yield "no image is labelled: this dataset can only be a pool of unlabelled images, or be predicted on"
        return
    for each in found.classes[1:]:
        if not each.n_images:
            yield f"no labelled image shows {each.name}: it cannot be learned, nor scored"
    if found.n_empty:
        yield f"{found.n_empty} of {found.n_labelled} labelled images show no structure at all: is that meant?"


def _subjects(found: Fingerprint) -> Iterator[str]:
    number = found.n_labelled_subjects
    if 0 < number < FEW_SUBJECTS:
        plural = "subject is" if number == 1 else "subjects are"
        yield f"only {number} {plural} labelled: a test score will rest on {max(1, round(0.15 * number))} of them"
    # Images alone: one scan per subject is usual for volumes, one image is not.
    if found.dims == 2 and found.n_images > 1 and found.n_subjects == found.n_images:
        yield (
            f"no two images are of one subject (its rule: {found.subject_rule}): where that is wrong, the images of a "
            "subject leak from training into the test"
        )


def _spacing(found: Fingerprint) -> Iterator[str]:
    unknown = found.n_images - found.spacing.n_known
    if unknown:
        which = "any image" if unknown == found.n_images else f"{unknown} of {found.n_images} images"
        yield f"the size of a pixel is unknown for {which}: nothing can be measured in mm there"
    anisotropy = found.spacing.anisotropy
    # Images alone: slices that are thicker than their pixels are usual for volumes.
    if found.dims == 2 and anisotropy and anisotropy.maximum > OBLONG:
        yield f"pixels are not square, one side up to {anisotropy.maximum:.2f} times the other: networks ignore that"
