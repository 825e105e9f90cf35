"""Says how much of its Dice a trained network keeps when its test images are noisy, blurred, shadowed or turned.

    python experiments/robustness.py --workdir runs/hc18 [--workdir runs/hc18_seed1 ...] [--limit N] [--out FILE]

Seven perturbations at five strengths each: see docs/robustness.md. A row has the mean Dice per image with a 95 %
bootstrap interval by subject, the paired drop to the images as they are, and the p of a Wilcoxon test of that drop over
subjects, corrected for all 35 (Holm). `robustness.json` goes into the workdir, where the report finds it. Of several
workdirs, which are one run with other seeds, it has the spread over them as well.
"""

import argparse
import dataclasses
import math
import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

if not __package__:
    sys.path[0] = str(pathlib.Path(__file__).parents[1])  # a script finds its neighbours as a module does

import numpy as np
from jaxtyping import Float

from fetal_jax.core import config
from fetal_jax.core.errors import exit_code
from fetal_jax.core.types import UserError
from fetal_jax.evaluation.corruptions import PERTURBATIONS, all_perturbed
from fetal_jax.evaluation.scores import score
from fetal_jax.experiment import Experiment
from fetal_jax.inference import segmenter as segmenters
from fetal_jax.inference.segmenter import Segmenter
from fetal_jax.statistics.bootstrap import mean_interval, subject_means
from fetal_jax.statistics.paired import holm, paired
from fetal_jax.statistics.reliability import icc_2_1
from fetal_jax.workdir import Workdir, write_json
from input_pipeline.dataset import default_data_dir

ALPHA = 0.05
CLEAN = ("clean", 0.0)
SETTINGS = [(name, strength) for name, p in PERTURBATIONS.items() for strength in p.strengths]

Setting = tuple[str, float]


@dataclasses.dataclass(frozen=True, eq=False)
class Measured:
    """The Dice of every test image of a run, the mean over its classes, as it is and at every perturbation."""

    workdir: pathlib.Path
    names: tuple[str, ...]
    subjects: tuple[str, ...]
    dice: dict[Setting, Float[np.ndarray, " images"]]  # NaN where undefined


def measure(workdir: pathlib.Path, data_dir: pathlib.Path, limit: int | None, tell: Callable[[str], None]) -> Measured:
    """Segments the test images of a run, all or the first `limit`, 36 times.

    Raises UserError if there is no run, it has no network, or its images are volumes.
    """
    experiment = Experiment(config.read(workdir), data_dir)
    if experiment.facts.dims != 2:
        raise UserError(f"{workdir} is a run on volumes: the perturbations are of images, give one on images")
    Workdir(workdir).check_splits(experiment.splits)
    segmenter, names = _last_network(experiment, workdir), experiment.splits.parts["test"][:limit]
    classes, dice = experiment.facts.classes, {}
    clean = score(segmenter.probabilities, experiment.dataset.records(names), classes)
    dice[CLEAN] = clean.dice()
    for name, strength in SETTINGS:
        records = all_perturbed(experiment.dataset.records(names), name, strength)
        dice[name, strength] = score(segmenter.probabilities, records, classes).dice()
        tell(f"{workdir}: {name} {strength:g} scored")
    return Measured(workdir, clean.names, clean.subjects, dice)


def _last_network(experiment: Experiment, workdir: pathlib.Path) -> Segmenter:
    folders = {stage.name: Workdir(workdir).stage_model(stage.name) for stage in experiment.stages}
    finished = [name for name, folder in folders.items() if (folder / "model.json").is_file()]
    if not finished:
        raise UserError(f"{workdir} has no finished stage: run fetal-jax train with this --workdir first")
    _, variables = segmenters.read(folders[finished[-1]])
    return experiment.segmenter(variables, finished[-1])


def summarise(measured: Measured) -> dict[str, Any]:
    """Means, intervals and drops of every setting, ready for JSON: an undefined number is None."""
    subjects, clean = measured.subjects, measured.dice[CLEAN]
    tests = [paired(clean, measured.dice[setting], subjects) for setting in SETTINGS]
    corrected = dict(zip(SETTINGS, holm([test.wilcoxon_p for test in tests]), strict=True))
    perturbations: dict[str, list] = {name: [] for name in PERTURBATIONS}
    for name, strength in SETTINGS:
        dice = measured.dice[name, strength]
        drop, drop_low, drop_high = mean_interval(clean - dice, subjects)
        row = _mean(dice, subjects) | {"drop": drop, "drop_low": drop_low, "drop_high": drop_high}
        row |= {"p": corrected[name, strength], "n": int((~np.isnan(clean - dice)).sum())}
        about = {"strength": strength, "unit": PERTURBATIONS[name].unit}
        perturbations[name].append(about | {key: _or_none(value) for key, value in row.items()})
    return {
        "n_images": len(subjects),
        "n_subjects": len(set(subjects)),
        "smallest_p": min(1.0, len(SETTINGS) * 2.0 ** (1 - len(set(subjects)))),  # that so many subjects can show
        "clean": {key: _or_none(value) for key, value in _mean(clean, subjects).items()},
        "perturbations": perturbations,
    }


def _mean(dice: np.ndarray, subjects: Sequence[str]) -> dict[str, float]:
    return dict(zip(("dice", "low", "high"), mean_interval(dice, subjects), strict=True))


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def over_seeds(runs: Sequence[Measured]) -> dict[str, Any]:
    """Mean and SD over runs of their mean Dice, and ICC(2,1) of the runs' Dice of the same subjects.

    Raises UserError if the runs were tested on other images.
    """
    first = runs[0]
    for run in runs[1:]:
        if run.names != first.names:
            odd = sorted(set(run.names) ^ set(first.names)) or run.names
            raise UserError(
                f"{run.workdir} was tested on other images than {first.workdir} (such as {odd[0]}): the spread over "
                "seeds needs one split, give runs that differ in nothing but their seed"
            )
    rows: dict[str, list] = {name: [] for name in ("clean", *PERTURBATIONS)}
    for setting in (CLEAN, *SETTINGS):
        dice = np.stack([run.dice[setting] for run in runs], 1)
        whole = ~np.isnan(dice).any(1)
        means = dice[whole].mean(0) if whole.any() else np.full(len(runs), np.nan)
        icc, low, high = icc_2_1(subject_means(dice, first.subjects)[1])
        row = {"mean": means.mean(), "sd": means.std(ddof=1), "icc": icc, "icc_low": low, "icc_high": high}
        rows[setting[0]].append({"strength": setting[1]} | {k: _or_none(float(v)) for k, v in row.items()})
    (clean,) = rows.pop("clean")
    return {"workdirs": [str(run.workdir) for run in runs], "clean": clean, "perturbations": rows}


def table(summary: dict[str, Any]) -> str:
    """A line a setting."""
    number = f"{summary['n_images']} images of {summary['n_subjects']} subjects"
    lines = [f"{'':48}{'Dice':>8}{'95 % interval':>18}{'drop':>9}{'p':>9}", _line(f"clean, {number}", summary["clean"])]
    for name, rows in summary["perturbations"].items():
        lines += [_line(f"{name}, {row['strength']:g} {row['unit']}", row) for row in rows]
    if summary["smallest_p"] >= ALPHA:
        lines.append(
            f"too few subjects for p < {ALPHA}: the smallest that they can show is {summary['smallest_p']:.2g}"
        )
    seeds = summary.get("seeds")
    if seeds:
        lines += ["", f"over {len(seeds['workdirs'])} seeds{'':32}{'Dice':>8}{'SD':>9}{'ICC':>9}"]
        lines.append(_seeds_line("clean", seeds["clean"]))
        for name, rows in seeds["perturbations"].items():
            lines += [_seeds_line(f"{name}, {row['strength']:g}", row) for row in rows]
    return "\n".join(lines)


def _line(title: str, row: dict[str, Any]) -> str:
    interval = f"{_cell(row['low'])} to {_cell(row['high'])}"
    drop = f"{_cell(row['drop'], '+.4f'):>9}{_cell(row['p'], '.2g'):>9}" if "drop" in row else ""
    return f"{title:48}{_cell(row['dice']):>8}{interval:>18}{drop}"


def _seeds_line(title: str, row: dict[str, Any]) -> str:
    return f"{title:48}{_cell(row['mean']):>8}{_cell(row['sd']):>9}{_cell(row['icc'], '.3f'):>9}"


def _cell(value: float | None, form: str = ".4f") -> str:
    return "–" if value is None else f"{value:{form}}"


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", type=pathlib.Path, required=True, action="append", help="of a run; once a seed")
    parser.add_argument(
        "--data-dir", type=pathlib.Path, help="prepared data ($FETAL_JAX_DATA, else ~/.cache/fetal_jax)"
    )
    parser.add_argument("--limit", type=int, help="only the first so many test images")
    parser.add_argument("--out", type=pathlib.Path, help="write there and not into the workdir")
    args = parser.parse_args(arguments)
    if args.limit is not None and args.limit < 1:
        parser.error("--limit must be at least 1")
    if len({workdir.resolve() for workdir in args.workdir}) < len(args.workdir):
        parser.error("--workdir is the same run twice: the spread over seeds would be none")
    if args.out and (len(args.workdir) > 1 or not args.out.parent.is_dir()):
        parser.error(f"--out {args.out}: its folder must exist, and it is for one --workdir")
    return args


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the tables and writes the files; 2 and a line where the input is wrong."""
    args = parse(arguments)
    return exit_code("robustness", lambda: work(args))


def check_seeds(workdirs: Sequence[pathlib.Path]) -> None:
    """Raises UserError if runs differ in more than their seed."""
    first = config.read(workdirs[0])
    for workdir in workdirs[1:]:
        if other := sorted(set(config.differences(first, config.read(workdir))) - {"seed"}):
            raise UserError(
                f"{workdir} differs from {workdirs[0]} in {', '.join(other[:3])}: the spread needs runs that "
                "differ in nothing but their seed"
            )


def work(args: argparse.Namespace) -> None:
    check_seeds(args.workdir)
    runs = [
        measure(workdir, args.data_dir or default_data_dir(), args.limit, lambda s: print(s, file=sys.stderr))
        for workdir in args.workdir
    ]
    seeds = {"seeds": over_seeds(runs)} if len(runs) > 1 else {}
    for run in runs:
        summary = summarise(run) | seeds
        path = args.out or run.workdir / "robustness.json"
        write_json(path, summary)
        print(run.workdir, table(summary), f"written: {path}", sep="\n")


if __name__ == "__main__":
    sys.exit(main())
