"""The images of a report, worst first, with outlines of reference and prediction."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fetal_jax.inference import overlay
from fetal_jax.reporting.base import Explanation, GalleryImage

PICTURE_SIDE, MAP_SIDE = 420, 320
REFERENCE_COLOUR = (0, 214, 100)
PREDICTION_COLOUR = (255, 64, 214)
ORDER = ("worst", "median", "best")
MOST_IMAGES, MOST_EXPLANATIONS = 60, 24  # what is left out is counted


def gallery(images: Sequence[GalleryImage]) -> dict[str, Any] | None:
    """The worst images first: they tell most."""
    if not images:
        return None
    return figures(sorted(images, key=lambda e: ORDER.index(e.title) if e.title in ORDER else len(ORDER)))


def figures(images: Sequence[GalleryImage]) -> dict[str, Any]:
    """As many images as a page bears, and the number of the others."""
    shown = images[:MOST_IMAGES]
    drawn = [
        {"image": each, "source": overlay.data_uri(outlined(each.image, each.labels, each.prediction, PICTURE_SIDE))}
        for each in shown
    ]
    return {"figures": drawn, "left_out": len(images) - len(shown)}


def outlined(image: np.ndarray, labels: np.ndarray | None, prediction: np.ndarray, side: int) -> np.ndarray:
    """The picture [h w 3] with the reference as a broad line, and the prediction as a thin one upon it."""
    picture = overlay.resize(image, side)
    for mask, colour, thickness in ((labels, REFERENCE_COLOUR, 4), (prediction, PREDICTION_COLOUR, 2)):
        if mask is not None:
            resized = overlay.resize(mask, side, labels=True)
            colours = [colour] * (int(resized.max()) + 1)
            picture = overlay.outline(picture, [(resized, colours)], thickness=thickness)
    return picture


def explanations(items: Sequence[Explanation]) -> dict[str, Any] | None:
    """Each explained image with its maps beside."""
    if not items:
        return None
    shown = items[:MOST_EXPLANATIONS]
    of_all = [note for note in shown[0].notes if all(note in each.notes for each in shown)]
    return {
        "items": [
            {"explanation": each, "pictures": _maps(each), "notes": [n for n in each.notes if n not in of_all]}
            for each in shown
        ],
        "notes": of_all,
        "left_out": len(items) - len(shown),
    }


def _maps(explanation: Explanation) -> list[dict[str, str]]:
    first = outlined(explanation.image, explanation.labels, explanation.prediction, MAP_SIDE)
    maps = {title: overlay.resize(picture, MAP_SIDE) for title, picture in explanation.maps.items()}
    named = {"reference and prediction": first, **maps}
    return [{"title": title, "source": overlay.data_uri(picture)} for title, picture in named.items()]
