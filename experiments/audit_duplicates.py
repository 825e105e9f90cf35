"""Measures how many planted near-duplicates the audit finds: python -m experiments.audit_duplicates hc18 [--json FILE].

Every image of a prepared dataset is changed in one way, put beside the originals, and the audit looks for pairs. A
pair of an image and its own copy is a find; a pair of images of different subjects is false. One line a kind of
change; the first line is the originals alone. Takes about 20 s a kind for 670 images on two cores.
"""

import argparse
import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Mapping

import cv2
import numpy as np

from fetal_jax.core.json_files import write_json
from input_pipeline.audit.duplicates import near_pairs
from input_pipeline.audit.fingerprints import thumbnail
from input_pipeline.dataset import Dataset, default_data_dir

Picture = np.ndarray  # uint8 [h w]
Change = Callable[[Picture, np.random.Generator], Picture]


def crop(picture: Picture, cuts: np.ndarray, zoom: bool) -> Picture:
    """Cuts fractions off left, top, right and bottom; `zoom` brings the rest to the old size."""
    height, width = picture.shape
    left, top, right, bottom = (round(cut * side) for cut, side in zip(cuts, (width, height) * 2, strict=True))
    part = picture[top : height - bottom, left : width - right]
    return cv2.resize(part, (width, height), interpolation=cv2.INTER_LINEAR) if zoom else part.copy()


def crop_side(picture: Picture, rng: np.random.Generator) -> Picture:
    return crop(picture, 0.1 * np.eye(4)[rng.integers(4)], bool(rng.random() < 0.5))


def crop_evenly(picture: Picture, rng: np.random.Generator) -> Picture:
    return crop(picture, np.full(4, 0.1), bool(rng.random() < 0.5))


def crop_unevenly(picture: Picture, rng: np.random.Generator) -> Picture:
    return crop(picture, rng.uniform(0, 0.1, 4), bool(rng.random() < 0.5))


def crop_deeply(picture: Picture, rng: np.random.Generator) -> Picture:
    return crop(picture, np.full(4, 0.15), zoom=True)


def brightness(picture: Picture, rng: np.random.Generator) -> Picture:
    return cv2.convertScaleAbs(np.clip(picture + rng.choice([-40.0, 40.0]), 0, 255))


def contrast(picture: Picture, rng: np.random.Generator) -> Picture:
    return cv2.convertScaleAbs(picture, alpha=float(rng.choice([0.6, 1.4])))


def gamma(picture: Picture, rng: np.random.Generator) -> Picture:
    return cv2.convertScaleAbs(255 * (picture / 255) ** rng.choice([0.5, 2.0]))


def gain(picture: Picture, rng: np.random.Generator) -> Picture:
    return (brightness, contrast, gamma)[rng.integers(3)](picture, rng)


def flip_horizontally(picture: Picture, rng: np.random.Generator) -> Picture:
    return cv2.flip(picture, 1)


def flip_vertically(picture: Picture, rng: np.random.Generator) -> Picture:
    return cv2.flip(picture, 0)


def flip(picture: Picture, rng: np.random.Generator) -> Picture:
    return cv2.flip(picture, int(rng.integers(-1, 2)))


def jpeg(picture: Picture, rng: np.random.Generator) -> Picture:
    return cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], cv2.IMREAD_GRAYSCALE)


def resize(picture: Picture, rng: np.random.Generator) -> Picture:
    """Each axis by its own factor of 0.7 to 1.3."""
    factors = rng.uniform(0.7, 1.3, 2)
    return cv2.resize(picture, None, fx=factors[0], fy=factors[1], interpolation=cv2.INTER_AREA)


def rotate(picture: Picture, rng: np.random.Generator) -> Picture:
    """By 5 degrees about the centre."""
    height, width = picture.shape
    turn = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), float(rng.choice([-5, 5])), 1)
    return cv2.warpAffine(picture, turn, (width, height))


def several(picture: Picture, rng: np.random.Generator) -> Picture:
    """Two or three of crop, gain, flip, resize, codec, in that order."""
    chosen = set(rng.choice(5, rng.integers(2, 4), replace=False))
    for i, change in enumerate((crop_unevenly, gain, flip, resize, jpeg)):
        picture = change(picture, rng) if i in chosen else picture
    return picture


def everything(picture: Picture, rng: np.random.Generator) -> Picture:
    for change in (crop_unevenly, gain, flip, resize, jpeg):
        picture = change(picture, rng)
    return picture


PROMISED: dict[str, Change] = {
    "crop 10 % of one side": crop_side,
    "crop 10 % of every side": crop_evenly,
    "crop 0-10 % of each side": crop_unevenly,
    "brightness -40 or +40": brightness,
    "contrast 0.6 or 1.4": contrast,
    "gamma 0.5 or 2": gamma,
    "flip left-right": flip_horizontally,
    "flip up-down": flip_vertically,
    "JPEG quality 50": jpeg,
    "resize 0.7-1.3 each axis": resize,
    "two or three of these": several,
    "all five of these": everything,
}
BEYOND: dict[str, Change] = {"crop 15 % of every side": crop_deeply, "rotate 5 degrees": rotate}
TWO_CROPS = "two crops of one image"  # 0-10 % of each side, each of the pair its own


@dataclasses.dataclass(frozen=True)
class Score:
    """The audit's result on one pool of images."""

    kind: str
    planted: int
    found: int
    pairs: int  # of images of different subjects in the pool
    false_pairs: tuple[tuple[str, str], ...]  # those of them that were taken for copies

    def __str__(self) -> str:
        recall = f"{self.found:5d} of {self.planted:5d} {self.found / self.planted:8.2%}" if self.planted else " " * 23
        return f"{self.kind:28}{recall}   {len(self.false_pairs)} false of {self.pairs}"


def score(kind: str, first: Mapping[str, Picture], second: Mapping[str, Picture], owner: Mapping[str, str]) -> Score:
    """Looks for pairs among `first` and `second`, two versions of the same images; `second` may be empty."""
    pool = {f"{name}\n{i}": thumbnail(p) for i, of in enumerate((first, second)) for name, p in of.items()}
    subjects = {key: owner[key.split("\n")[0]] for key in pool}
    found, false = 0, []
    for pair in near_pairs(pool, subjects):
        a, b = (key.split("\n")[0] for key in pair.names)
        found += a == b
        false += [(a, b)] if pair.across_subjects else []
    sizes = np.unique(list(subjects.values()), return_counts=True)[1]
    pairs = (len(pool) ** 2 - int((sizes**2).sum())) // 2
    return Score(kind, len(second), found, pairs, tuple(false))


def scores(pictures: Mapping[str, Picture], owner: Mapping[str, str], seed: int) -> Iterator[Score]:
    """The originals alone, then beside copies of each kind. Each kind has its own random numbers."""
    yield score("originals", pictures, {}, owner)
    for i, (kind, change) in enumerate((PROMISED | BEYOND).items()):
        rng = np.random.default_rng((seed, i))
        yield score(kind, pictures, {name: change(picture, rng) for name, picture in pictures.items()}, owner)
    rng = np.random.default_rng((seed, len(PROMISED | BEYOND)))
    twice = [{name: crop_unevenly(picture, rng) for name, picture in pictures.items()} for _ in range(2)]
    yield score(TWO_CROPS, *twice, owner)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset")
    parser.add_argument("--data-dir", type=pathlib.Path, default=default_data_dir())
    parser.add_argument("--images", type=int, help="the first so many; all by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()
    dataset = Dataset(args.dataset, args.data_dir)
    pictures = {name: dataset[name].picture() for name in dataset.names[: args.images]}
    print(f"{dataset.version}, {len(pictures)} images, seed {args.seed}", flush=True)
    results = []
    for result in scores(pictures, dataset.subjects, args.seed):
        print(result, flush=True)
        results.append(dataclasses.asdict(result))
    if args.json:
        write_json(args.json, {"version": dataset.version, "seed": args.seed, "scores": results}, format=1)


if __name__ == "__main__":
    main()
