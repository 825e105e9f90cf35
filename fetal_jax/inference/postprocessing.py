"""Post-processing of label maps: steps, and recipes of them by name.

Pixels that a step takes from a structure become what surrounds them most, so that a stray CSP in the brain is brain
again and one in the open is background. No step adds a class, and an image without a step's classes is left alone.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import cv2
import numpy as np
from jaxtyping import Integer

from fetal_jax.core.types import UserError
from fetal_jax.inference.connected_components import (
    ConnectedComponents,
    as_bytes,
    bounding_box,
    closed,
    connected_components,
)

Labels = Integer[np.ndarray, "*space"]
Step = Callable[[np.ndarray], np.ndarray]

GAP_PX = 5  # that closing bridges
MINIMUM_PX = 5  # trans-thalamic thesis, section 1.3
INNER, OUTER = ("csp", "lv"), ("brain", "head")  # what lies within what, by class name
SINGLE, PAIRED = ("head", "brain", "cerebellum"), ("lv",)  # the single ones have no holes either


@dataclasses.dataclass(frozen=True)
class Closing:
    """Closes gaps narrower than `size` pixels, an odd number, in each of the classes with a disc or a ball.

    A class takes pixels of the background and of classes with lower ids, which surround it in every dataset here: the
    brain never swallows a CSP.
    """

    classes: tuple[int, ...]
    size: int = GAP_PX

    def __call__(self, labels: Labels) -> Labels:
        labels = labels.copy()
        for i in sorted(self.classes):
            box = bounding_box(labels == i)
            if box is not None:
                part = labels[box]
                part[closed(part == i, self.size) & (part < i)] = i
        return labels


@dataclasses.dataclass(frozen=True)
class LargestComponent:
    """Keeps the `keep` largest components of each of the classes: one head, one cerebellum, two lateral ventricles."""

    classes: tuple[int, ...]
    keep: int = 1

    def __call__(self, labels: Labels) -> Labels:
        return _without(labels, self.classes, self._surplus)

    def _surplus(self, components: ConnectedComponents) -> np.ndarray:
        if components.n <= self.keep:
            return np.arange(0)
        return np.argsort(-components.sizes, kind="stable")[self.keep :]


@dataclasses.dataclass(frozen=True)
class MinimumSize:
    """Removes components of fewer than `px` pixels or voxels of each of the classes."""

    classes: tuple[int, ...]
    px: int = MINIMUM_PX

    def __call__(self, labels: Labels) -> Labels:
        return _without(labels, self.classes, lambda components: np.flatnonzero(components.sizes < self.px))


@dataclasses.dataclass(frozen=True)
class FillHoles:
    """Background that structures enclose becomes what surrounds it most, where that is one of the classes.

    Background that reaches the frame is open, also where a structure leaves it.
    """

    classes: tuple[int, ...]

    def __call__(self, labels: Labels) -> Labels:
        box = bounding_box(labels != 0)
        if box is None:
            return labels
        framed = np.pad(labels[box], 1)
        background = connected_components(framed == 0, diagonal=False)
        outside = int(background.numbers.flat[0]) - 1
        for i in range(background.n):
            if i != outside and (around := background.surroundings(i, framed)) in self.classes:
                background.paint(i, framed, around)
        labels = labels.copy()
        labels[box] = framed[(slice(1, -1),) * labels.ndim]
        return labels


@dataclasses.dataclass(frozen=True)
class Inside:
    """Pixels of the `inner` classes outside the convex hull of the `outer` ones become background; of images only.

    Where there is no outer structure nothing can be said, and nothing is done.
    """

    inner: tuple[int, ...]
    outer: tuple[int, ...]

    def __call__(self, labels: Integer[np.ndarray, "h w"]) -> Integer[np.ndarray, "h w"]:
        outer = as_bytes(_any_of(labels, self.outer))
        contours, _ = cv2.findContours(outer, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        if not contours:
            return labels
        hull = np.zeros(labels.shape, np.uint8)
        cv2.fillConvexPoly(hull, cv2.convexHull(np.concatenate(contours)), 1)
        labels = labels.copy()
        labels[_any_of(labels, self.inner) & (hull == 0)] = 0
        return labels


def postprocess(labels: Labels, steps: Sequence[Step]) -> Labels:
    """The label map after each of the steps in turn; the one given is left as it is."""
    for step in steps:
        labels = step(labels)
    return labels


def recipes(classes: Sequence[str], dims: int = 2) -> Mapping[str, tuple[Step, ...]]:
    """What may be done to label maps of these classes, the background first, by name; "none" does nothing.

    `thesis` is closing, then the largest component if it has 5 pixels, of CSP and LV (trans-thalamic thesis, section
    1.3, which gives no size of the closing). `anatomy` has rules for classes that it knows by name, and is missing
    where it knows none.
    """
    everything = tuple(range(1, len(classes)))
    small = _ids(classes, INNER) or everything
    anatomy = _anatomy(classes, dims)
    return {
        "none": (),
        "largest": (LargestComponent(everything),),
        "closing+largest": (Closing(everything), LargestComponent(everything)),
        "thesis": (Closing(small), LargestComponent(small), MinimumSize(small)),
    } | ({"anatomy": anatomy} if anatomy else {})


def recipe(name: str, classes: Sequence[str], dims: int = 2) -> tuple[Step, ...]:
    """The steps of a recipe. Raises UserError if these classes have none of that name."""
    known = recipes(classes, dims)
    if name not in known:
        structures = ", ".join(classes[1:])
        raise UserError(f"postprocess {name!r} is unknown for {structures}: choose one of {', '.join(known)}, or auto")
    return known[name]


def _anatomy(classes: Sequence[str], dims: int) -> tuple[Step, ...]:
    """One of each but the ventricles; CSP and LV within the brain, else the head; nothing hollow."""
    single, pairs, inner = _ids(classes, SINGLE), _ids(classes, PAIRED), _ids(classes, INNER)
    outer = next((ids for ids in (_ids(classes, [name]) for name in OUTER) if ids), ())
    alone = tuple(i for i in inner if i not in pairs)
    steps = (
        (single, LargestComponent(single)),
        (inner and outer and dims == 2, Inside(inner, outer)),  # its convex hull is that of an image
        (alone, LargestComponent(alone)),
        (pairs, LargestComponent(pairs, keep=2)),
        (single, FillHoles(single)),
    )
    return tuple(step for applies, step in steps if applies)


def _ids(classes: Sequence[str], names: Sequence[str]) -> tuple[int, ...]:
    return tuple(i for i, name in enumerate(classes) if name in names)


def _any_of(labels: np.ndarray, classes: Sequence[int]) -> np.ndarray:
    """Sooner than np.isin for the few classes there are."""
    found = np.zeros(labels.shape, bool)
    for i in classes:
        found |= labels == i
    return found


def _without(labels: Labels, classes: Sequence[int], lost: Callable[[ConnectedComponents], np.ndarray]) -> Labels:
    """Gives components of each class away to what surrounds them: those whose numbers `lost` tells from all of them."""
    labels = labels.copy()
    for i in classes:
        box = bounding_box(labels == i, margin=1)
        if box is not None:
            part = labels[box]
            components = connected_components(part == i)
            for component in lost(components).tolist():
                components.paint(component, part, components.surroundings(component, part))
    return labels
