"""Writes tests/golden/surface.npz from MONAI and DeepMind's surface-distance: random pairs of masks, and nested boxes.

Rows are pairs; columns are hd, hd95, asd (prediction to reference), assd and surface Dice. What is not finite, as peers
have it for absent structures, is kept as -1.

MONAI's hd95 is asked for twice: as published, where the rank of the percentile is rounded to single precision, which
moves it by up to 5e-5 here; and by the same function from the same distances in double precision.
"""

import torch_peers  # noqa: I001  (before any peer)

import warnings
from collections.abc import Sequence

import golden
import masks
import monai.metrics as monai
import numpy as np
import surface_distance as deepmind
import torch
from monai.metrics.hausdorff_distance import _compute_percentile_hausdorff_distance
from monai.metrics.utils import get_edge_surface_distance

TOLERANCE = {"px": 2.0, "mm": 1.0}


def one_hots(pair: masks.Pair) -> list[torch.Tensor]:
    return [torch.from_numpy(np.stack([~mask, mask])[None]) for mask in (pair.prediction, pair.labels)]


def by_monai(pair: masks.Pair, spacing: Sequence[float] | None, tolerance: float) -> list[float]:
    prediction, labels = one_hots(pair)
    found = [
        monai.compute_hausdorff_distance(prediction, labels, spacing=spacing),
        hd95_in_double(pair, spacing),
        monai.compute_average_surface_distance(prediction, labels, spacing=spacing),
        monai.compute_average_surface_distance(prediction, labels, symmetric=True, spacing=spacing),
        monai.compute_surface_dice(prediction, labels, [tolerance], spacing=spacing),
    ]
    return [float(value) for value in found]


def hd95_in_double(pair: masks.Pair, spacing: Sequence[float] | None) -> float:
    both = torch.from_numpy(pair.prediction), torch.from_numpy(pair.labels)
    _, distances, _ = get_edge_surface_distance(*both, spacing=spacing, symmetric=True)
    return max(float(_compute_percentile_hausdorff_distance(d.double(), 95)) for d in distances)


def hd95_as_published(pair: masks.Pair, spacing: Sequence[float] | None, _: float) -> list[float]:
    return [float(monai.compute_hausdorff_distance(*one_hots(pair), percentile=95, spacing=spacing))]


def by_deepmind(pair: masks.Pair, spacing: Sequence[float] | None, tolerance: float) -> list[float]:
    if not (pair.prediction.any() and pair.labels.any()):
        return [np.nan] * 5  # it uses a name that NumPy 2 has not
    spacing = spacing or (1.0,) * pair.labels.ndim
    found = deepmind.compute_surface_distances(pair.labels, pair.prediction, spacing)
    sides = [(found[f"distances_{a}_to_{b}"], found[f"surfel_areas_{a}"]) for a, b in (("gt", "pred"), ("pred", "gt"))]
    distances, areas = (np.concatenate(parts) for parts in zip(*sides, strict=True))
    return [
        deepmind.compute_robust_hausdorff(found, 100),
        deepmind.compute_robust_hausdorff(found, 95),
        deepmind.compute_average_surface_distance(found)[1],
        np.average(distances, weights=areas),
        deepmind.compute_surface_dice_at_tolerance(found, tolerance),
    ]


def golden_numbers():
    numbers = {}
    for name, pairs in (("pairs", list(masks.pairs())), ("boxes", list(masks.nested_boxes()))):
        numbers[f"{name}/pixels"] = np.array([[pair.prediction.sum(), pair.labels.sum()] for pair in pairs])
        for unit, tolerance in TOLERANCE.items():
            for peer in (by_monai, hd95_as_published, by_deepmind):
                rows = [peer(pair, pair.spacing if unit == "mm" else None, tolerance) for pair in pairs]
                numbers[f"{name}/{peer.__name__}/{unit}"] = np.nan_to_num(rows, nan=-1, posinf=-1)
    return numbers


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # on empty masks, on names that SciPy will drop
    torch.set_num_threads(1)
    golden.main("surface", torch_peers.versions("monai", "surface-distance"), golden_numbers)
