"""Measures how well planted anomalies are detected from predicted masks, without a reference.

    python -m experiments.anomaly_phantom [--workdir runs/anomaly_phantom]

Makes `fetal_phantom/anomalies` (130 subjects, both planes) and trains a small Attention U-Net of all structures on half
of the subjects, normal and abnormal alike, where the workdir has no model yet: about 8 minutes on 2 CPU cores. The
normative model is fitted on reference masks of the normal training subjects; the network's own error and the p-values
are from the validation subjects; scored are the test subjects by their predicted masks, all images of a subject
together. Writes `anomaly.json` and `anomaly_detector.json` into the workdir. A phantom is not clinical evidence.
"""

import argparse
import math
import pathlib
import sys
from collections.abc import Iterable, Sequence

import numpy as np

from experiments.anomaly_phantom_scores import NOTE, Case, fit, normative_model, result
from fetal_jax.anomaly.detector import Detector
from fetal_jax.anomaly.features import describe
from fetal_jax.anomaly.mismatch import mismatch_score
from fetal_jax.anomaly.ood import image_statistics
from fetal_jax.cli import main as cli
from fetal_jax.core.errors import exit_code
from fetal_jax.core.json_files import write_json
from fetal_jax.core.types import UserError
from fetal_jax.inference.segmenter import Segmenter, load
from fetal_jax.workdir import Workdir
from input_pipeline.dataset import Dataset, default_data_dir
from input_pipeline.splits import Splits

DATASET = "fetal_phantom/anomalies"
OVERRIDES = {
    "structures": "skull,brain,csp,lv,cerebellum",
    "split.unit": "percent",
    "split.labelled": 50,
    "split.unlabelled": 0,
    "split.validation": 10,
    "split.test": 40,
    "stages.supervised.epochs": 30,
    "stages.supervised.augment": "geometric",
    "evaluation.blur": 0,
}


HARM = {  # what no scan of the training looks like
    "noise": lambda image, rng: rng.integers(0, 256, image.shape, np.uint8),
    "black": lambda image, rng: np.zeros_like(image),
    "inverted": lambda image, rng: 255 - image,
    "turned by 90 degrees": lambda image, rng: np.ascontiguousarray(np.rot90(image)),
    "upside down": lambda image, rng: np.ascontiguousarray(image[::-1]),
}


def train(workdir: pathlib.Path) -> None:
    overrides = [f"--config.{key}={value}" for key, value in OVERRIDES.items()]
    config = f"configs/attention_unet.py:dataset={DATASET},size=128"
    code = cli.main(["train", "--config", config, "--workdir", str(workdir), *overrides])
    if code:
        sys.exit(code)


def cases(segmenter: Segmenter, dataset: Dataset, names: Sequence[str]) -> Iterable[Case]:
    classes = dataset.facts.classes
    images = (dataset[name].image for name in names)
    for name, probs in zip(names, segmenter.probabilities(images), strict=True):
        record, prediction = dataset[name], probs.argmax(-1).astype(np.uint8)
        mismatch = [score for score in mismatch_score(prediction, record.labels, classes).values() if score < math.inf]
        yield Case(
            record.subject,
            record.about["plane"],
            record.about["anomaly"],
            record.about["ga_weeks"],
            describe(record.labels, classes, record.spacing_mm),
            describe(prediction, classes, record.spacing_mm),
            image_statistics(record.picture(), probs),
            float(np.mean(mismatch)),
        )


def refusals(detector: Detector, segmenter: Segmenter, images: Sequence[np.ndarray]) -> dict[str, float]:
    """The share of harmed images [h w] that the out-of-distribution detector turns away."""
    rng, shares = np.random.default_rng(0), {}
    for name, harm in HARM.items():
        harmed = [harm(image, rng) for image in images]
        answers = segmenter.probabilities(harmed)
        verdicts = [detector.ood(image_statistics(image, probs)) for image, probs in zip(harmed, answers, strict=True)]
        shares[name] = float(np.mean([not verdict.inside for verdict in verdicts]))
    return shares


def show(found: dict) -> None:
    n_normal, n_anomalous = len(found["normal"]), len(found["anomalous"])
    print(f"{n_normal} normal and {n_anomalous} anomalous test subjects, {found['n_not_scored']} not scored;")
    print(f"the out-of-distribution detector refuses {found['images_refused']:.1%} of their images, and of")
    print("; ".join(f"{name} images {share:.0%}" for name, share in found["harmed_refused"].items()))
    print("AUROC by subject, 95 % interval:")
    titles = {
        "reference": "reference masks",
        "predicted": "predicted masks",
        "untold": "the same, plane inferred",
        "thesis": "thesis score",
    }
    print(f"{'':20s}" + "".join(f"{title:>25s}" for title in titles.values()))
    for kind in found["tables"]["predicted"]:
        cells = (found["tables"][name][kind] for name in titles)
        print(f"{kind:20s}" + "".join(f"{c['auroc']:11.3f} ({c['low']:.2f}-{c['high']:.2f})" for c in cells))
    print("The thesis score needs the reference of the very image that it scores; predicted masks need none.")
    print(NOTE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the tables and writes the files; 2 and a line where the input is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workdir", type=pathlib.Path, default=pathlib.Path("runs/anomaly_phantom"))
    workdir = parser.parse_args(arguments).workdir
    return exit_code("anomaly_phantom", lambda: work(workdir))


def work(workdir: pathlib.Path) -> None:
    if not (workdir / "model").is_dir():
        train(workdir)
    splits = Splits.load(Workdir(workdir).splits)
    if splits.dataset.partition(":")[0] != DATASET:
        raise UserError(f"{workdir} is a run on {splits.dataset}: give one on {DATASET}, or a new --workdir")
    dataset, parts = Dataset(DATASET, default_data_dir()), splits.parts
    segmenter = load(workdir, batch_size=8)
    training, validation, test = (
        list(cases(segmenter, dataset, parts[part])) for part in ("labelled", "validation", "test")
    )
    detector = fit(training, validation, dataset.facts.classes)
    first = {name.partition("_")[0]: dataset[name].picture() for name in parts["test"]}
    harmed = {"harmed_refused": refusals(detector, segmenter, list(first.values()))}
    found = result(detector, normative_model(training), test) | harmed
    detector.save(workdir / "anomaly_detector.json")
    write_json(workdir / "anomaly.json", found, format=1)
    show(found)


if __name__ == "__main__":
    sys.exit(main())
