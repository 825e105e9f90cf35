"""The command line: `robustness`, the Dice of a run on corrupted test images."""

import argparse
import functools
import pathlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fetal_jax.cli.data import data_dir

if TYPE_CHECKING:
    from fetal_jax.evaluation.robustness import CorruptedDice


def add(commands) -> None:
    """Adds the command."""
    parser = commands.add_parser("robustness", help="Dice on corrupted test images", allow_abbrev=False)
    parser.add_argument(
        "--workdir", type=pathlib.Path, required=True, action="append", help="of a run; once for each seed"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N test images")
    parser.add_argument("--out", type=pathlib.Path, metavar="FILE", help="default: robustness.json in the workdir")
    parser.set_defaults(run=_robustness)


def _robustness(args: argparse.Namespace) -> None:
    from fetal_jax.core.json_files import write_json
    from fetal_jax.evaluation import robustness

    _check(args)
    check_seeds(args.workdir)
    runs = [_measure(workdir, data_dir(args), args.limit) for workdir in args.workdir]
    seeds = robustness.over_seeds(runs) if len(runs) > 1 else None
    for run in runs:
        result, path = robustness.summarise(run, seeds), args.out or run.workdir / robustness.FILE
        write_json(path, result.to_json(), format=1)
        print(run.workdir, robustness.table(result), f"written: {path}", sep="\n")


def _measure(path: pathlib.Path, data: pathlib.Path, limit: int | None) -> "CorruptedDice":
    """The Dice of a run's test images under every corruption, by its last network alone.

    Raises UserError if there is no run, it has no network, or its images are volumes.
    """
    from fetal_jax.core import config
    from fetal_jax.evaluate import evaluation_data, finished_models
    from fetal_jax.evaluation import robustness
    from fetal_jax.experiment import Experiment
    from fetal_jax.inference import segmenter as segmenters
    from fetal_jax.workdir import Workdir

    experiment, workdir = Experiment(config.read(path), data), Workdir(path)
    workdir.check_splits(experiment.splits)
    stage, folder = list(finished_models(experiment, workdir).items())[-1]
    segmenter = experiment.segmenter(segmenters.read(folder)[1], stage)
    tell = functools.partial(print, file=sys.stderr)
    return robustness.measure(path, evaluation_data(experiment), segmenter, limit, tell)


def _check(args: argparse.Namespace) -> None:
    """Raises UserError for arguments that make no sense."""
    from fetal_jax.core.types import UserError

    if args.limit is not None and args.limit < 1:
        raise UserError(f"--limit is {args.limit}: it must be at least 1")
    if len({workdir.resolve() for workdir in args.workdir}) < len(args.workdir):
        raise UserError("--workdir is the same run twice: the spread over seeds would be none, give other runs")
    if args.out and (len(args.workdir) > 1 or args.out.is_dir() or not args.out.parent.is_dir()):
        raise UserError(f"--out {args.out}: it must be a file in a folder that exists, and is for one --workdir")


def check_seeds(workdirs: Sequence[pathlib.Path]) -> None:
    """Raises UserError if runs differ in more than their seed."""
    from fetal_jax.core import config
    from fetal_jax.core.types import UserError

    first = config.read(workdirs[0])
    for workdir in workdirs[1:]:
        if other := sorted(set(config.differences(first, config.read(workdir))) - {"seed"}):
            raise UserError(
                f"{workdir} differs from {workdirs[0]} in {', '.join(other[:3])}: the spread needs runs that "
                "differ in nothing but their seed"
            )
