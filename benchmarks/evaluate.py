"""What measuring costs beside the network: a run's test images segmented only, scored by Dice, and assessed in full.

    python benchmarks/evaluate.py --workdir runs/hc18 [--images 200] [--rounds 5]

Images are decoded before and taken in turns until there are as many as asked for. A round does all three; the numbers
are medians over the rounds. "over" is what assessing takes beyond 1.3 times the network's own time, an image.
"""

import argparse
import itertools
import os
import pathlib
import statistics
import sys
import time
from collections.abc import Callable

from absl import flags

if not __package__:
    sys.path[0] = str(pathlib.Path(__file__).parents[1])  # a script finds its neighbours as a module does

from fetal_jax.core import config as configs
from fetal_jax.core.types import UserError
from fetal_jax.evaluation.evaluator import evaluate_records
from fetal_jax.evaluation.scores import score
from fetal_jax.experiment import Experiment
from fetal_jax.inference import segmenter as segmenters
from input_pipeline.dataset import Record, default_data_dir

SHARE = 1.3  # of the network's own time


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", required=True, type=pathlib.Path)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    flags.FLAGS.mark_as_parsed()
    try:
        experiment = Experiment(configs.read(args.workdir), default_data_dir())
        segmenter = experiment.segmenter(segmenters.read(args.workdir)[1], "benchmark")
    except UserError as error:
        print(f"benchmarks/evaluate: {error}", file=sys.stderr)
        return 2
    records = taken(experiment, args.images)
    classes = experiment.facts.classes

    tasks: dict[str, Callable[[], object]] = {
        "network": lambda: sum(1 for _ in segmenter.probabilities(record.image for record in records)),
        "dice": lambda: score(segmenter.probabilities, records, classes),
        "all metrics": lambda: evaluate_records(segmenter.probabilities, records, classes),
    }
    next(segmenter.probabilities([records[0].image]))  # compiles
    rounds = [{name: timed(task) for name, task in tasks.items()} for _ in range(args.rounds)]
    seconds = {name: [each[name] for each in rounds] for name in tasks}
    print(f"{len(records)} images of {records[0].image.shape}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for name, values in seconds.items():
        print(f"{name:12} {1000 * statistics.median(values) / len(records):7.1f} ms an image")
    over = [
        1000 * (whole - SHARE * alone) / len(records)
        for whole, alone in zip(seconds["all metrics"], seconds["network"], strict=True)
    ]
    print(f"{'over':12} {statistics.median(over):7.1f} ms an image beyond {SHARE} x the network")
    return 0


def taken(experiment: Experiment, number: int) -> list[Record]:
    """The test images, decoded, over and over until there are enough."""
    records = list(experiment.dataset.records(experiment.splits.parts["test"]))
    return list(itertools.islice(itertools.cycle(records), number))


def timed(task: Callable[[], object]) -> float:
    start = time.perf_counter()
    task()
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
