"""The command line: `train`, on one process or on several."""

import argparse
import contextlib
import pathlib
import signal
from collections.abc import Iterator

from fetal_jax.cli import config as cli_config
from fetal_jax.cli import data as cli_data
from fetal_jax.cli.workdirs import claimed


def add(commands) -> None:
    """Adds the command."""
    parser = commands.add_parser("train", help="run a protocol; the same workdir again resumes", allow_abbrev=False)
    cli_config.add_arguments(parser)
    parser.add_argument("--workdir", required=True, type=pathlib.Path, help="of several processes: in a shared folder")
    several = parser.add_argument_group("several processes", "the same command in each; the first one writes the files")
    several.add_argument("--distributed", action="store_true", help="find the others by the cluster (TPU, Slurm, ...)")
    several.add_argument("--coordinator", metavar="HOST:PORT", help="of the first process; with the two below")
    several.add_argument("--processes", type=int, metavar="N")
    several.add_argument("--process", type=int, metavar="I", help="which of them this is, from 0")
    parser.set_defaults(run=_train)


def _train(args: argparse.Namespace) -> None:
    _join(args)
    from fetal_jax import train as training
    from fetal_jax.cli.summary import lines
    from fetal_jax.core import config, processes
    from fetal_jax.evaluate import Options, evaluate
    from fetal_jax.experiment import Experiment
    from fetal_jax.training.stages import describe
    from fetal_jax.workdir import Workdir

    settings, workdir = config.load(args.config, cli_config.overrides(args)), Workdir(args.workdir)
    experiment = Experiment(settings, cli_data.data_dir(args))
    experiment.check_devices()
    loaded = None if workdir.begun else experiment.read_pretrained()  # refused before anything is written
    weights = loaded.header if loaded else None
    with claimed(args.workdir) if processes.is_main() else contextlib.nullcontext():
        if processes.is_main():
            workdir.claim(settings, experiment.splits, experiment.dataset.subjects, weights)
            print(describe(experiment.stages), experiment.describe(), sep="\n")
            print(f"initial weights: {workdir.initial_weights(experiment.pretrained)}", flush=True)
            for warning in experiment.warnings:
                print(f"note: {warning}", flush=True)
        processes.wait_for_all("workdir")
        with _stop_on_signal() as stop:
            training.train(experiment, workdir, stop)
        processes.part()
        if processes.is_main():  # by itself: the others have no part in it, and end
            options = Options(experiment.settings.evaluation.tta)
            print(*lines(evaluate(experiment, workdir, options), args.workdir), sep="\n")


def _join(args: argparse.Namespace) -> None:
    """Joins the other processes of the run, before a device is touched. Raises UserError if an option is missing."""
    from fetal_jax.core.types import UserError

    given = {"coordinator": args.coordinator, "processes": args.processes, "process": args.process}
    missing = [f"--{name}" for name, value in given.items() if value is None]
    if not args.distributed and len(missing) == len(given):
        return
    if not args.distributed and missing:
        raise UserError(f"{missing[0]} is missing: give --coordinator, --processes and --process, or --distributed")
    if not args.distributed and not 0 <= args.process < args.processes:
        raise UserError(f"--process is {args.process}: it must be 0 to {args.processes - 1}")
    import jax

    jax.distributed.initialize(args.coordinator, args.processes, args.process)


@contextlib.contextmanager
def _stop_on_signal() -> Iterator:
    """A function that says whether SIGTERM or Ctrl-C asked the process to end; a second Ctrl-C ends it at once."""
    asked = []

    def ask(number, _frame):
        asked.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, ask) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
