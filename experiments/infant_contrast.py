"""Measures the contrast of the simulated infants by age, and the Dice of k-means clusters of their grey values.

    python -m experiments.infant_contrast [--dataset fetal_phantom/infant_tiny]

For each age, over its volumes: the mean difference of white and grey matter in both modalities, in units of the noise
(the standard deviation within white matter), the volume of both in ml, and the Dice of k-means with three clusters on
both modalities, inside the labelled region.
"""

import argparse
import pathlib
from collections import defaultdict
from itertools import permutations

import numpy as np
from jaxtyping import Float
from scipy.cluster.vq import kmeans2, whiten

from input_pipeline.dataset import Dataset, Record, default_data_dir

TISSUES = ("csf", "gm", "wm")
VOXELS = 20_000  # of a volume, for k-means


def contrast(record: Record) -> list[float]:
    """(WM - GM) / SD of WM, for each modality."""
    image = record.image.astype(np.float32)
    grey, white = image[record.labels == 2], image[record.labels == 3]
    return ((white.mean(0) - grey.mean(0)) / white.std(0)).tolist()


def kmeans_dice(record: Record, rng: np.random.Generator) -> Float[np.ndarray, "3"]:
    """Dice of three clusters with CSF, grey and white matter; of the six ways to name them, the one that fits best."""
    inside = np.flatnonzero(record.labels)
    chosen = rng.choice(inside, min(VOXELS, len(inside)), replace=False)
    values = whiten(record.image.reshape(-1, record.image.shape[-1])[chosen].astype(np.float64))
    _, found = kmeans2(values, 3, minit="++", seed=rng)
    labels = record.labels.ravel()[chosen]
    named = [[_dice(found == c, labels == i) for i, c in enumerate(order, 1)] for order in permutations(range(3))]
    return np.array(max(named, key=sum))


def _dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * float((a & b).sum()) / max(1, int(a.sum() + b.sum()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="fetal_phantom/infant")
    parser.add_argument("--data-dir", type=pathlib.Path, default=default_data_dir())
    args = parser.parse_args()
    dataset, rows = Dataset(args.dataset, args.data_dir), defaultdict(list)
    groups = dict(zip(dataset.index.names, dataset.index.groups, strict=True))
    for i, name in enumerate(sorted(dataset.names)):
        record = dataset[name]
        millilitres = (record.labels >= 2).sum() * np.prod(record.spacing_mm) / 1000
        dice = kmeans_dice(record, np.random.default_rng(i))
        rows[groups[name]].append([*contrast(record), millilitres, *dice])
    print(f"{'age':>5} {'n':>4} {'T1w':>6} {'T2w':>6} {'ml':>7}  k-means Dice {' '.join(TISSUES)}")
    for group in sorted(rows, key=lambda text: -int(text.rstrip("m"))):
        t1w, t2w, millilitres, *dice = np.mean(rows[group], axis=0)
        scores = " ".join(f"{value:.2f}" for value in dice)
        print(f"{group:>5} {len(rows[group]):4} {t1w:6.1f} {t2w:6.1f} {millilitres:7.1f}  {scores}")


if __name__ == "__main__":
    main()
