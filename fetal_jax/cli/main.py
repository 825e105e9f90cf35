"""The command line: evaluate, predict, submit; the other commands are in the modules beside this one.

The only flags in the code base. Nothing heavy is imported before a command needs it, so that `--help` answers at once.
"""

import argparse
import os
import pathlib
import sys
import warnings
from collections.abc import Sequence

from fetal_jax.cli import compare as cli_compare
from fetal_jax.cli import config as cli_config
from fetal_jax.cli import data as cli_data
from fetal_jax.cli import robustness as cli_robustness
from fetal_jax.cli import train as cli_train
from fetal_jax.cli import weights as cli_weights
from fetal_jax.cli.workdirs import claimed

PREEMPTED, INTERRUPTED = 75, 130  # beside those of core.errors, and 1 for an unexpected error, with a traceback


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; the exit code says 0 done, 2 something to put right, 75 preempted (run again to resume)."""
    args = _parser().parse_args(_join_overrides(sys.argv[1:] if arguments is None else arguments))
    from fetal_jax.core.errors import exit_code
    from fetal_jax.core.types import Preempted

    _set_up()
    try:
        return exit_code("fetal-jax", lambda: args.run(args))
    except KeyboardInterrupt:
        print("\nfetal-jax: interrupted; nothing half-written is left", file=sys.stderr)
        return INTERRUPTED
    except Preempted:
        print("stopped on request; everything is saved: run the same command again to go on", file=sys.stderr)
        return PREEMPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fetal-jax",
        description="Segmentation of the fetal and infant brain: from raw files to masks and honest scores.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--data-dir", type=pathlib.Path, help="prepared data ($FETAL_JAX_DATA, else ~/.cache/fetal_jax)"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    cli_data.add(commands)
    cli_weights.add(commands)
    cli_train.add(commands)
    cli_config.add(commands)
    _add_evaluate(commands)
    _add_predict(commands)
    _add_submit(commands)
    cli_robustness.add(commands)
    cli_compare.add(commands)
    return parser


def _add_evaluate(commands) -> None:
    parser = commands.add_parser("evaluate", help="score every stage of a run on its test images", allow_abbrev=False)
    parser.add_argument("--workdir", required=True, type=pathlib.Path)
    _add_inference(parser, tta=None, postprocess="auto")
    parser.add_argument("--explain", type=int, default=0, metavar="N", help="show what decided in the N worst images")
    parser.set_defaults(run=_evaluate)


def _add_inference(parser: argparse.ArgumentParser, *, tta: str | None, postprocess: str) -> None:
    """Options of prediction; auto is what validation images decide, or have decided."""
    default = "that of the config" if tta is None else tta
    names = "none, horizontal, flips, scales, flips+scales or auto"
    words = f"test-time augmentation: {names} (default: {default})"
    parser.add_argument("--tta", default=tta, metavar="NAME", help=words)
    recipes = "none, largest, closing+largest, thesis, anatomy or auto"
    parser.add_argument(
        "--postprocess", default=postprocess, metavar="NAME", help=f"of masks: {recipes} (default: %(default)s)"
    )
    parser.add_argument(
        "--ensemble", nargs="+", default=[], type=pathlib.Path, metavar="RUN", help="average with these runs"
    )


def _add_predict(commands) -> None:
    parser = commands.add_parser("predict", help="masks of new images, in their own size", allow_abbrev=False)
    parser.add_argument("--workdir", required=True, type=pathlib.Path, help="of a run, or its model/ folder")
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--overlay", action="store_true", help="also draw the outlines on the images")
    _add_inference(parser, tta="none", postprocess="none")
    parser.add_argument("--ga-weeks", type=float, metavar="WEEKS", help="gestational age, for what is normal at it")
    parser.add_argument("--spacing", type=float, metavar="MM", help="pixel size for areas; else the file's")
    parser.add_argument("paths", nargs="+", type=pathlib.Path, help="image files of any format, or folders of them")
    parser.set_defaults(run=_predict)


def _add_submit(commands) -> None:
    parser = commands.add_parser("submit", help="the table of HC18's challenge for its test images", allow_abbrev=False)
    parser.add_argument("--workdir", required=True, type=pathlib.Path, help="of a run, or its model/ folder")
    parser.add_argument("--out", required=True, type=pathlib.Path, metavar="FILE.csv")
    _add_inference(parser, tta="none", postprocess="none")
    parser.set_defaults(run=_submit)


def _join_overrides(arguments: Sequence[str]) -> list[str]:
    """Rewrites `--config.key=value` and `--config.key value` as `--set key value`, which argparse can take."""
    joined, rest = [], list(arguments)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--config."):
            joined.append(word)
            continue
        key, equals, value = word.removeprefix("--config.").partition("=")
        joined += ["--set", key, value if equals else (rest.pop(0) if rest else "")]
    return joined


def _set_up() -> None:
    """Once a process: compiled programs are kept between runs, and grain needs its flags parsed."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import jax
    from absl import flags, logging

    from fetal_jax.core.folders import cache_folder
    from fetal_jax.core.sharding import keep_freed_memory

    # Without the cache a run only starts later; a disk too full for it is told where it matters, at a checkpoint.
    warnings.filterwarnings("ignore", message="Error (reading|writing) persistent compilation cache")
    flags.FLAGS.mark_as_parsed()
    logging.set_verbosity(logging.WARNING)
    jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "compiled"))
    keep_freed_memory()


def _evaluate(args: argparse.Namespace) -> None:
    from fetal_jax.cli.summary import lines
    from fetal_jax.core import config
    from fetal_jax.evaluate import Options, evaluate
    from fetal_jax.experiment import Experiment
    from fetal_jax.workdir import Workdir

    experiment, workdir = Experiment(config.read(args.workdir), cli_data.data_dir(args)), Workdir(args.workdir)
    workdir.check_splits(experiment.splits)
    tta = args.tta or experiment.settings.evaluation.tta
    options = Options(tta, args.postprocess, tuple(args.ensemble), args.explain)
    with claimed(args.workdir):
        print(*lines(evaluate(experiment, workdir, options), args.workdir), sep="\n")


def _predict(args: argparse.Namespace) -> None:
    from fetal_jax.inference.predict_images import predict_files

    lines = predict_files(
        [args.workdir, *args.ensemble],
        args.paths,
        args.out,
        overlay=args.overlay,
        tta=args.tta,
        postprocess=args.postprocess,
        spacing_mm=args.spacing,
        ga_weeks=args.ga_weeks,
    )
    for line in lines:
        print(line)


def _submit(args: argparse.Namespace) -> None:
    from fetal_jax.inference.hc18_submission import submit
    from input_pipeline.dataset import Dataset

    dataset = Dataset("hc18/official_test", cli_data.data_dir(args))
    models = [args.workdir, *args.ensemble]
    for line in submit(models, dataset, args.out, tta=args.tta, postprocess=args.postprocess):
        print(line)
