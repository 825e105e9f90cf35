"""Tests whether an augmentation helps a network that has few labelled images: `ultrasound` against `geometric`.

    python -m experiments.ultrasound_augmentation --workdir DIR [--dataset fetal_phantom | hc18] [--json OUT]

The fine-tuning stage of configs/ss_case_unet.py runs alone, from scratch, once with each augmentation for every seed.
Both runs of a seed have the same images, the same initial weights and the same number of steps, and all are scored on
the same test images, none of which is augmented. With the defaults a run is 400 steps on 40 images at 96 x 96: about
two minutes on 2 cores, 20 for all. Started again with the same --workdir it goes on where it was.

A difference is called one only if two 95 % intervals leave out zero: over the seeds (would other trainings say the
same?) and over the test subjects (would other subjects?). Both are Student's, of paired differences in Dice per image.
"""

import argparse
import csv
import dataclasses
import pathlib
import sys

import numpy as np
from jaxtyping import Float
from scipy import stats

from fetal_jax.cli import main as cli
from fetal_jax.core.json_files import write_json
from fetal_jax.core.types import UserError

CONFIG = pathlib.Path(__file__).parent.parent / "configs" / "ss_case_unet.py"


def train(workdir: pathlib.Path, augment: str, seed: int, args: argparse.Namespace) -> None:
    """Runs or resumes one training. Raises SystemExit with the exit code of a run that did not end well."""
    settings = {
        "stages": "fine_tune",
        "seed": seed,
        "split.labelled": args.labelled,
        "split.unlabelled": 0,
        "split.validation": args.validation,
        "split.test": args.test,
        "unlabelled_per_batch": 0,
        "batch_size": args.batch,
        "evaluation.blur": 0,
        "validate_every": max(1, args.epochs // 8),
        "stages.fine_tune.epochs": args.epochs,
        "stages.fine_tune.augment": augment,
    }
    place = ["--data-dir", str(args.data_dir)] if args.data_dir else []
    config = f"{CONFIG}:dataset={args.dataset},size={args.size}"
    overrides = [f"--config.{key}={value}" for key, value in settings.items()]
    code = cli.main([*place, "train", "--config", config, "--workdir", str(workdir), *overrides])
    if code:
        raise SystemExit(code)


@dataclasses.dataclass(frozen=True, eq=False)
class Scores:
    """Dice of the test images, the mean over the classes of each, by augmentation and seed."""

    subjects: tuple[str, ...]  # of each image
    dice: dict[str, Float[np.ndarray, "seeds images"]]


def read_dice(workdir: pathlib.Path) -> dict[tuple[str, str], float]:
    """Mean Dice over the classes of each image that has one, by subject and name."""
    values: dict[tuple[str, str], list[float]] = {}
    with (workdir / "per_image.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            if row["dice"]:
                values.setdefault((row["subject"], row["name"]), []).append(float(row["dice"]))
    return {image: float(np.mean(dice)) for image, dice in values.items()}


def gather(tables: dict[str, list[dict[tuple[str, str], float]]]) -> Scores:
    """The images of which every run has a Dice: one that a network rightly leaves empty has none."""
    runs = [table for of_seed in tables.values() for table in of_seed]
    images = [image for image in runs[0] if all(image in run for run in runs)]
    dice = {name: np.array([[t[image] for image in images] for t in of_seed]) for name, of_seed in tables.items()}
    return Scores(tuple(subject for subject, _ in images), dice)


def interval(differences: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """The 95 % interval of the mean, Student's; of fewer than two numbers all that a Dice can differ by."""
    if len(differences) < 2:
        return -1.0, 1.0
    half = stats.t.ppf(0.975, len(differences) - 1) * stats.sem(differences)
    return float(differences.mean() - half), float(differences.mean() + half)


def compare(scores: Scores, baseline: str, tried: str) -> dict:
    """Paired differences of Dice, tried less baseline: of each seed, their mean, and both intervals."""
    difference = scores.dice[tried] - scores.dice[baseline]
    subjects = np.array(scores.subjects)
    of_subjects = np.array([difference[:, subjects == subject].mean() for subject in dict.fromkeys(scores.subjects)])
    return {
        "baseline": scores.dice[baseline].mean(axis=1).tolist(),
        "tried": scores.dice[tried].mean(axis=1).tolist(),
        "differences": difference.mean(axis=1).tolist(),
        "mean": float(difference.mean()),
        "over_seeds": interval(difference.mean(axis=1)),
        "over_subjects": interval(of_subjects),
        "n_images": len(subjects),
        "n_subjects": len(of_subjects),
    }


def sentence(result: dict, baseline: str, tried: str) -> str:
    """The conclusion of the comparison, with its numbers."""
    sides = {np.sign(bound) for key in ("over_seeds", "over_subjects") for bound in result[key]}
    if sides == {1.0}:
        verdict = f"{tried} helps"
    elif sides == {-1.0}:
        verdict = f"{tried} harms"
    else:
        verdict = f"{tried} makes no difference that this could show"
    seeds, subjects = (f"{low:+.4f} to {high:+.4f}" for low, high in (result["over_seeds"], result["over_subjects"]))
    return (
        f"{verdict}: Dice per image {result['mean']:+.4f} against {baseline} on {result['n_images']} test images of "
        f"{result['n_subjects']} subjects; 95 % interval {seeds} over {len(result['differences'])} seeds, "
        f"{subjects} over subjects."
    )


def table(result: dict, seeds: list[int], baseline: str, tried: str) -> str:
    rows = [f"{'seed':>6}{baseline:>20}{tried:>20}{'difference':>14}"]
    columns = zip(seeds, result["baseline"], result["tried"], result["differences"], strict=True)
    rows += [f"{seed:6}{a:20.4f}{b:20.4f}{difference:+14.4f}" for seed, a, b, difference in columns]
    means = np.mean(result["baseline"]), np.mean(result["tried"])
    rows.append(f"{'mean':>6}{means[0]:20.4f}{means[1]:20.4f}{result['mean']:+14.4f}")
    return "\n".join(rows)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=pathlib.Path, required=True, help="of all runs; goes on where it was")
    parser.add_argument("--dataset", default="fetal_phantom")
    parser.add_argument("--data-dir", type=pathlib.Path)
    parser.add_argument("--baseline", default="geometric", help="augmentation to compare with")
    parser.add_argument("--tried", default="ultrasound", help="augmentation in question, e.g. speckle")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--size", type=int, default=96, help="side of the network's square in pixels")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--labelled", type=int, default=40, help="training images")
    parser.add_argument("--validation", type=int, default=16, help="images that choose the best network")
    parser.add_argument("--test", type=int, default=120)
    parser.add_argument("--json", type=pathlib.Path, help="also writes the numbers there")
    args = parser.parse_args()
    if args.seeds < 2:
        parser.error("--seeds must be at least 2: of one training there is no interval")
    return args


def main() -> None:
    args = parse()
    seeds, names = list(range(args.seeds)), (args.baseline, args.tried)
    tables: dict[str, list[dict]] = {name: [] for name in names}
    for seed in seeds:
        for name in names:
            workdir = args.workdir / f"seed-{seed}-{name}"
            train(workdir, name, seed, args)
            tables[name].append(read_dice(workdir))
    result = compare(gather(tables), *names)
    print(table(result, seeds, *names), sentence(result, *names), sep="\n")
    if args.json:
        settings = {key: str(v) if isinstance(v, pathlib.Path) else v for key, v in vars(args).items()}
        write_json(args.json, {"settings": settings, **result}, format=1)


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"ultrasound_augmentation: {error}")
