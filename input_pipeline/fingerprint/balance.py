"""Rules of the split, the stages, the augmentation, and the balance of rare structures."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from input_pipeline.fingerprint.dataset_fingerprint import Fingerprint
from input_pipeline.fingerprint.rules import KEPT, PlannedSettings, pixels_kept
from input_pipeline.sampling import class_weights

PERCENT = {"labelled": 70, "validation": 15, "test": 15}  # trans-thalamic thesis, section 3.2
RARE = 1 / 3  # a structure in fewer of the labelled images is oversampled, as CSP and LV in the thesis, section 3.3
FACTOR = 3
ENOUGH = 7  # subjects; 15 % of fewer may be none at all
SMALL = 0.01  # share of the pixels under which cross-entropy hardly sees a class
SMOOTHING = 0.01  # of the class weights; the config's own
PUBLISHED_SIZE = 256  # px, for which the published morphology and blur of 5 x 5 are made


def split(found: Fingerprint) -> PlannedSettings:
    """70/15/15 per cent of the labelled images in whole subjects, stratified by rare structures.

    Where one subject has so many images that a part could be empty, counts: validation and test take so few images
    that labelled subjects are sure to be left to train on. Subjects without any label are the pool.
    """
    pool = f"; the {found.n_pool:,} images of subjects without labels are the pool" if found.n_pool else ""
    per_subject = found.labelled_a_subject
    assert per_subject is not None, "the planner stops where no image is labelled"
    most = per_subject.maximum / found.n_labelled
    if 100 * most <= PERCENT["test"]:
        parts: dict[str, Any] = {"unit": "percent", **PERCENT, "unlabelled": 0}
        reason = (
            f"{found.n_labelled_subjects:,} labelled subjects, assigned whole, 70/15/15 per cent of their images{pool}"
        )
    else:
        # So many images are of no more than so many subjects.
        held_out = max(found.n_labelled_subjects // ENOUGH, int(per_subject.minimum))
        validation = held_out if found.n_labelled_subjects > 2 else 0
        parts = {"unit": "images", "labelled": -1, "validation": validation, "test": held_out}
        parts["unlabelled"] = -1 if found.n_pool else 0
        reason = (
            f"{found.n_labelled_subjects} labelled subjects, one with {100 * most:.0f} % of the images, are too few or "
            f"too uneven for percentages: counts that are sure to be there, all others (-1) to train on{pool}"
        )
    parts["stratify"] = rare(found)
    return PlannedSettings({f"split.{key}": value for key, value in parts.items()}, reason)


def rare(found: Fingerprint) -> tuple[str, ...]:
    """The structures that less than a third of the labelled images show."""
    return tuple(each.name for each in found.structures if each.presence is not None and each.presence < RARE)


def protocol(found: Fingerprint) -> PlannedSettings:
    """The published stages where there is a pool; without one, only supervised training of the whole network."""
    if found.n_pool:
        stages = ("decoder", "fine_tune", "retrain")
        return PlannedSettings(
            {"stages": stages}, f"the {found.n_pool:,} images of the pool are labelled by the network"
        )
    hidden = found.n_images - found.n_labelled
    why = f"the {hidden:,} unlabelled images are of subjects with labels" if hidden else "no image is unlabelled"
    reason = f"{why}, so there is no pool; a decoder stage is of use before it with pretrained weights of the encoder"
    return PlannedSettings({"stages": ("fine_tune",)}, reason)


def oversampling(found: Fingerprint) -> PlannedSettings:
    """Images with a rare structure are drawn three times as often, if the training part is sure to show it."""
    subjects = {each.name: each.n_subjects for each in found.structures}
    drawn = tuple(name for name in rare(found) if subjects[name] >= ENOUGH)
    values = {"sampling.structures": drawn, "sampling.factor": FACTOR if drawn else 1}
    too_few = [f"{name} in {subjects[name]}" for name in rare(found) if name not in drawn]
    skipped = f"; not where fewer than {ENOUGH} subjects show one: {', '.join(too_few)}" if too_few else ""
    if drawn:
        return PlannedSettings(values, f"less than a third of the labelled images show each of these{skipped}")
    return PlannedSettings(values, skipped[2:] or "every structure is in a third of the labelled images or more")


def weighting(found: Fingerprint) -> PlannedSettings:
    """Inverse frequencies where a structure has less than 1 % of the pixels."""
    shares = {each.name: each.share for each in found.structures if each.share is not None}
    rarest = min(shares, key=shares.__getitem__)
    share = shares[rarest]
    rule = "inverse_frequency" if share < SMALL else "none"
    reason = f"{rarest}, the rarest structure, has {100 * share:.3g} % of the pixels"
    if rule == "none":
        return PlannedSettings({"class_weights.rule": rule}, f"{reason}: enough for the cross-entropy to see it (1 %)")
    weights = ", ".join(f"{name} {weight:.2g}" for name, weight in weights_by_class(found).items())
    values: dict[str, Any] = {"class_weights.rule": rule, "class_weights.smoothing": SMOOTHING}
    return PlannedSettings(values, f"{reason}, under 1 %: over all labelled images the weights are {weights}")


def weights_by_class(found: Fingerprint) -> Mapping[str, float]:
    """Inverse-frequency weights over all labelled images, by the names of the classes that these show."""
    classes = (found.classes[0], *found.structures)
    weights = class_weights(np.array([each.pixels for each in classes]), SMOOTHING)
    return dict(zip((each.name for each in classes), weights.tolist(), strict=True))


def augmentation(found: Fingerprint, size: int, stages: tuple[str, ...]) -> PlannedSettings:
    """The published one where its 5 x 5 kernels fit: one structure, large enough, at 256 px or more."""
    suits = len(found.structures) == 1 and size >= PUBLISHED_SIZE and pixels_kept(found, size) >= KEPT
    names = {"retrain": "simplified"} if suits else {}
    default = "comprehensive" if suits else "geometric"
    values = {f"stages.{stage}.augment": names.get(stage, default) for stage in stages}
    reason = (
        f"one structure at {size} px: the published kernels of 5 x 5 suit it, and test images are blurred alike"
        if suits
        else f"no blur, exact masks: the published kernels of 5 x 5 suit one structure at {PUBLISHED_SIZE} px or more"
    )
    return PlannedSettings({**values, "evaluation.blur": 5 if suits else 0}, reason)
