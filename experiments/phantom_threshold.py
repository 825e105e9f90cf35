"""Measures the Dice of Otsu's threshold on the phantom: python -m experiments.phantom_threshold [config] [images].

Otsu's threshold (IEEE Trans. Syst. Man Cybern. 1979;9:62-66) splits an image in two. Each class gets the
half, bright or dark, that fits it better, which a real method could not know. Where even that scores low,
grey values alone do not tell the classes apart. Takes a few seconds.
"""

import sys
from collections.abc import Iterable

import cv2
import numpy as np
from jaxtyping import UInt8

from input_pipeline.builders.fetal_phantom import FACTS, FetalPhantom
from input_pipeline.builders.fetal_phantom.builder import examples


def dice(mask: np.ndarray, truth: np.ndarray) -> float:
    """Dice of two boolean arrays; `truth` has to hold something."""
    return float(2 * (mask & truth).sum() / (mask.sum() + truth.sum()))


def otsu_dice(image: UInt8[np.ndarray, "h w"], truth: np.ndarray) -> float:
    """Dice of the better of the two halves that Otsu's threshold makes of an image."""
    _, bright = cv2.threshold(image, 0, 1, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    return max(dice(bright == 1, truth), dice(bright == 0, truth))


def threshold_scores(frames: Iterable[dict], classes: tuple[str, ...]) -> dict[str, float]:
    """Mean Otsu Dice over frames by foreground class, their "mean", and "head": all inside the skull."""
    scores = {name: [] for name in (*classes[1:], "head")}
    for frame in frames:
        for label, name in enumerate(classes[1:], 1):
            truth = frame["labels"] == label
            if truth.any():
                scores[name].append(otsu_dice(frame["image"], truth))
        scores["head"].append(otsu_dice(frame["image"], frame["labels"] > 1))
    means = {name: float(np.mean(values)) for name, values in scores.items() if values}
    return means | {"mean": float(np.mean([v for k, v in means.items() if k != "head"]))}


def main(config: str = "trans_cerebellum", images: str = "60") -> None:
    frames = examples(FetalPhantom.builder_configs[config])
    first = [frame for frame, _ in zip(frames, range(int(images)), strict=False)]
    print(f"fetal_phantom/{config}, {len(first)} images: Dice of Otsu's threshold")
    for name, score in threshold_scores(first, FACTS.classes).items():
        print(f"  {name:12s}{score:.3f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
