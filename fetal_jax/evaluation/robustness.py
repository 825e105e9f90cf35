"""Robustness: how much of its Dice a trained network keeps when its test images are corrupted.

Seven corruptions at five strengths each: see docs/robustness.md.
"""

import dataclasses
import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from fetal_jax.core.json_files import read_json
from fetal_jax.core.types import UserError
from fetal_jax.evaluation.corruptions import CORRUPTIONS, corrupt_all
from fetal_jax.evaluation.results import CorruptionResult, DiceInterval, RobustnessResult, SeedsResult, SeedsRow
from fetal_jax.evaluation.scores import EvaluationData, score
from fetal_jax.inference.segmenter import Segmenter
from fetal_jax.statistics.bootstrap import mean_interval, subject_means
from fetal_jax.statistics.paired import holm, paired
from fetal_jax.statistics.reliability import icc_2_1

FILE = "robustness.json"  # in the workdir, where the report finds it
ALPHA = 0.05
CLEAN = ("clean", 0.0)
SETTINGS = [(name, strength) for name, c in CORRUPTIONS.items() for strength in c.strengths]

Setting = tuple[str, float]


@dataclasses.dataclass(frozen=True, eq=False)
class CorruptedDice:
    """The Dice of every test image of a run, the mean over its classes, as it is and under every corruption."""

    workdir: pathlib.Path
    names: tuple[str, ...]
    subjects: tuple[str, ...]
    dice: Mapping[Setting, Float[np.ndarray, " images"]]  # NaN where undefined


def measure(
    workdir: pathlib.Path,
    data: EvaluationData,
    segmenter: Segmenter,
    limit: int | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> CorruptedDice:
    """Segments the test images of a run, all or the first `limit`, 36 times.

    Raises UserError if its images are volumes.
    """
    if data.dims != 2:  # the corruptions are those of ultrasound images
        raise UserError(f"{workdir} is a run on volumes: corruptions are of images, give a run on images")
    clean = score(segmenter.probabilities, data.records("test", limit), data.classes)
    dice: dict[Setting, np.ndarray] = {CLEAN: clean.dice()}
    for name, strength in SETTINGS:
        records = corrupt_all(data.records("test", limit), name, strength)
        dice[name, strength] = score(segmenter.probabilities, records, data.classes).dice()
        tell(f"{workdir}: {name} {strength:g} scored")
    return CorruptedDice(workdir, clean.names, clean.subjects, dice)


def summarise(measured: CorruptedDice, seeds: SeedsResult | None = None) -> RobustnessResult:
    """Means, intervals and drops of every corruption and strength, with the spread over seeds if it is known."""
    subjects, clean = measured.subjects, measured.dice[CLEAN]
    tests = [paired(clean, measured.dice[setting], subjects) for setting in SETTINGS]
    corrected = dict(zip(SETTINGS, holm([test.wilcoxon_p for test in tests]), strict=True))
    rows: dict[str, list[CorruptionResult]] = {name: [] for name in CORRUPTIONS}
    for setting in SETTINGS:
        rows[setting[0]].append(_corruption(measured, setting, float(corrected[setting])))
    n_subjects = len(set(subjects))
    return RobustnessResult(
        n_images=len(subjects),
        n_subjects=n_subjects,
        smallest_p=min(1.0, len(SETTINGS) * 2.0 ** (1 - n_subjects)),
        clean=DiceInterval(*map(float, mean_interval(clean, subjects))),
        perturbations={name: tuple(of_name) for name, of_name in rows.items()},
        seeds=seeds,
    )


def _corruption(measured: CorruptedDice, setting: Setting, p: float) -> CorruptionResult:
    name, strength = setting
    dice, lost = measured.dice[setting], measured.dice[CLEAN] - measured.dice[setting]
    mean, low, high = map(float, mean_interval(dice, measured.subjects))
    drop, drop_low, drop_high = map(float, mean_interval(lost, measured.subjects))
    return CorruptionResult(
        strength=strength,
        unit=CORRUPTIONS[name].unit,
        dice=mean,
        low=low,
        high=high,
        drop=drop,
        drop_low=drop_low,
        drop_high=drop_high,
        p=p,
        n=int((~np.isnan(lost)).sum()),
    )


def over_seeds(runs: Sequence[CorruptedDice]) -> SeedsResult:
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
    rows: dict[str, list[SeedsRow]] = {name: [] for name in CORRUPTIONS}
    for setting in SETTINGS:
        rows[setting[0]].append(_spread(runs, setting))
    return SeedsResult(
        workdirs=tuple(str(run.workdir) for run in runs),
        clean=_spread(runs, CLEAN),
        perturbations={name: tuple(of_name) for name, of_name in rows.items()},
    )


def _spread(runs: Sequence[CorruptedDice], setting: Setting) -> SeedsRow:
    dice = np.stack([run.dice[setting] for run in runs], 1)
    whole = ~np.isnan(dice).any(1)
    means = dice[whole].mean(0) if whole.any() else np.full(len(runs), np.nan)
    icc, low, high = icc_2_1(subject_means(dice, runs[0].subjects)[1])
    return SeedsRow(setting[1], float(means.mean()), float(means.std(ddof=1)), float(icc), float(low), float(high))


def table(result: RobustnessResult) -> str:
    """A text table with one line per corruption and strength."""
    number = f"{result.n_images} images of {result.n_subjects} subjects"
    lines = [f"{'':48}{'Dice':>8}{'95 % interval':>18}{'drop':>9}{'p':>9}", _line(f"clean, {number}", result.clean)]
    for name, rows in result.perturbations.items():
        for row in rows:
            drop = f"{_cell(row.drop, '+.4f'):>9}{_cell(row.p, '.2g'):>9}"
            lines.append(_line(f"{name}, {row.strength:g} {row.unit}", row) + drop)
    if result.smallest_p >= ALPHA:
        lines.append(f"too few subjects for p < {ALPHA}: the smallest that they can show is {result.smallest_p:.2g}")
    return "\n".join(lines + (_seeds_lines(result.seeds) if result.seeds else []))


def _line(title: str, row: DiceInterval | CorruptionResult) -> str:
    interval = f"{_cell(row.low)} to {_cell(row.high)}"
    return f"{title:48}{_cell(row.dice):>8}{interval:>18}"


def _seeds_lines(seeds: SeedsResult) -> list[str]:
    lines = ["", f"over {len(seeds.workdirs)} seeds{'':32}{'Dice':>8}{'SD':>9}{'ICC':>9}"]
    lines.append(_seeds_line("clean", seeds.clean))
    for name, rows in seeds.perturbations.items():
        lines += [_seeds_line(f"{name}, {row.strength:g}", row) for row in rows]
    return lines


def _seeds_line(title: str, row: SeedsRow) -> str:
    return f"{title:48}{_cell(row.mean):>8}{_cell(row.sd):>9}{_cell(row.icc, '.3f'):>9}"


def _cell(value: float, form: str = ".4f") -> str:
    return "–" if math.isnan(value) else f"{value:{form}}"


def read(workdir: pathlib.Path) -> RobustnessResult | None:
    """The `robustness.json` of a workdir; None where the command has not run. Raises UserError if it is damaged."""
    path = workdir / FILE
    if not path.is_file():
        return None
    fields = read_json(path, format=1, what="a robustness result", remedy="run fetal-jax robustness on it again")
    try:
        return from_json(fields)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged ({error!r}): run fetal-jax robustness on it again") from None


def from_json(fields: Mapping[str, Any]) -> RobustnessResult:
    """From the content of `robustness.json`. Raises KeyError or TypeError if something is missing."""
    seeds = ({"seeds": None} | dict(fields))["seeds"]
    return RobustnessResult(
        n_images=fields["n_images"],
        n_subjects=fields["n_subjects"],
        smallest_p=fields["smallest_p"],
        clean=DiceInterval(**_numbers(fields["clean"])),
        perturbations={
            name: tuple(CorruptionResult(**_numbers(row)) for row in rows)
            for name, rows in fields["perturbations"].items()
        },
        seeds=None
        if seeds is None
        else SeedsResult(
            workdirs=tuple(seeds["workdirs"]),
            clean=SeedsRow(**_numbers(seeds["clean"])),
            perturbations={
                name: tuple(SeedsRow(**_numbers(row)) for row in rows) for name, rows in seeds["perturbations"].items()
            },
        ),
    )


def _numbers(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of JSON with NaN for null."""
    return {key: math.nan if value is None else value for key, value in row.items()}
