"""Rules of balance: who is trained on and tested, in which stages, and what is done for rare structures."""

from collections.abc import Mapping

import numpy as np

from input_pipeline.fingerprint.description import Description
from input_pipeline.fingerprint.rules import KEPT, Choice, pixels_kept
from input_pipeline.sampling import class_weights

PERCENT = {"labelled": 70, "validation": 15, "test": 15}  # trans-thalamic thesis, section 3.2
RARE = 1 / 3  # shown by fewer of the labelled images: drawn more often, as CSP and LV are in the thesis, section 3.3
FACTOR = 3
ENOUGH = 7  # subjects; of fewer, 15 % may be none at all
SMALL = 0.01  # share of the pixels under which cross-entropy hardly sees a class
SMOOTHING = 0.01  # of the class weights; the config's own
PUBLISHED_SIZE = 256  # px, that the published morphology and blur of 5 x 5 are made for


def split(found: Description) -> Choice:
    """70/15/15 per cent of the labelled images in whole subjects, stratified by rare structures.

    Where one subject has so many images that a part could come out empty, counts: so many images as are sure to leave
    labelled subjects over, and all others to train on. Subjects without any label are the pool.
    """
    pool = f"; the {found.n_pool:,} images of subjects without labels are the pool" if found.n_pool else ""
    most = found.labelled_a_subject.maximum / found.n_labelled
    if 100 * most <= PERCENT["test"]:
        parts = {"unit": "percent", **PERCENT, "unlabelled": 0}
        reason = (
            f"{found.n_labelled_subjects:,} labelled subjects, dealt whole, 70/15/15 per cent of their images{pool}"
        )
    else:
        # As many images as there are subjects to spare never take more of these.
        held_out = max(found.n_labelled_subjects // ENOUGH, int(found.labelled_a_subject.minimum))
        validation = held_out if found.n_labelled_subjects > 2 else 0
        parts = {"unit": "images", "labelled": -1, "validation": validation, "test": held_out}
        parts["unlabelled"] = -1 if found.n_pool else 0
        reason = (
            f"{found.n_labelled_subjects} labelled subjects, one with {100 * most:.0f} % of the images, are too few or "
            f"too uneven for percentages: counts that are sure to be there, all others (-1) to train on{pool}"
        )
    parts["stratify"] = rare(found)
    return Choice({f"split.{key}": value for key, value in parts.items()}, reason)


def rare(found: Description) -> tuple[str, ...]:
    """The structures that less than a third of the labelled images show."""
    return tuple(each.name for each in found.structures if each.presence < RARE)


def protocol(found: Description) -> Choice:
    """The published stages where there is a pool; without one, only supervised training of the whole network."""
    if found.n_pool:
        stages = ("decoder", "fine_tune", "retrain")
        return Choice({"stages": stages}, f"the {found.n_pool:,} images of the pool are labelled by the network")
    hidden = found.n_images - found.n_labelled
    why = f"the {hidden:,} unlabelled images are of subjects with labels" if hidden else "no image is unlabelled"
    reason = f"{why}, so there is no pool; a decoder stage is of use before it with pretrained weights of the encoder"
    return Choice({"stages": ("fine_tune",)}, reason)


def oversampling(found: Description) -> Choice:
    """Images with a structure that is rare are drawn three times as often, if the training part is sure to show it."""
    subjects = {each.name: each.n_subjects for each in found.structures}
    drawn = tuple(name for name in rare(found) if subjects[name] >= ENOUGH)
    values = {"sampling.structures": drawn, "sampling.factor": FACTOR if drawn else 1}
    too_few = [f"{name} in {subjects[name]}" for name in rare(found) if name not in drawn]
    skipped = f"; not where fewer than {ENOUGH} subjects show one: {', '.join(too_few)}" if too_few else ""
    if drawn:
        return Choice(values, f"less than a third of the labelled images show each of these{skipped}")
    return Choice(values, skipped[2:] or "every structure is in a third of the labelled images or more")


def weighting(found: Description) -> Choice:
    """Inverse frequencies where a structure has less than 1 % of the pixels."""
    rarest = min(found.structures, key=lambda each: each.share)
    rule = "inverse_frequency" if rarest.share < SMALL else "none"
    reason = f"{rarest.name}, the rarest structure, has {100 * rarest.share:.3g} % of the pixels"
    if rule == "none":
        return Choice({"class_weights.rule": rule}, f"{reason}: enough for the cross-entropy to see it (1 %)")
    weights = ", ".join(f"{name} {weight:.2g}" for name, weight in weights_by_class(found).items())
    values = {"class_weights.rule": rule, "class_weights.smoothing": SMOOTHING}
    return Choice(values, f"{reason}, under 1 %: over all labelled images the weights are {weights}")


def weights_by_class(found: Description) -> Mapping[str, float]:
    """What inverse frequency comes to, over all labelled images and the classes that these show."""
    classes = (found.classes[0], *found.structures)
    weights = class_weights(np.array([each.pixels for each in classes]), SMOOTHING)
    return dict(zip((each.name for each in classes), weights.tolist(), strict=True))


def augmentation(found: Description, size: int, stages: tuple[str, ...]) -> Choice:
    """The published one where its 5 x 5 kernels suit: one structure, large enough, at 256 px or more."""
    suits = len(found.structures) == 1 and size >= PUBLISHED_SIZE and pixels_kept(found, size) >= KEPT
    names = {"retrain": "simplified"} if suits else {}
    default = "comprehensive" if suits else "geometric"
    values = {f"stages.{stage}.augment": names.get(stage, default) for stage in stages}
    reason = (
        f"one structure at {size} px: the published kernels of 5 x 5 suit it, and test images are blurred alike"
        if suits
        else f"no blur, exact masks: the published kernels of 5 x 5 suit one structure at {PUBLISHED_SIZE} px or more"
    )
    return Choice({**values, "evaluation.blur": 5 if suits else 0}, reason)
