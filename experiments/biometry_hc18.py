"""How well measurements recover known sizes: python -m experiments.biometry_hc18 [dataset] [data folder].

HC18 publishes each head's circumference beside its outline. The reference mask, measured as a prediction would be,
should give it back: what is left is the error of the way from a mask to millimetres, and none of a model. The phantom
knows more sizes, e.g. `fetal_phantom/both`. 670 images of HC18 take ten seconds.
"""

import pathlib
import sys
import time
from collections.abc import Iterator

import numpy as np

from fetal_jax.biometry.agreement import BlandAltman, bland_altman
from fetal_jax.biometry.measures import MEASURES, measure
from fetal_jax.core.errors import exit_code
from input_pipeline.dataset import Dataset, Record, default_data_dir

# Stated for every frame of a phantom; only this plane shows it.
PLANES = {"tcd_mm": "trans_cerebellum", "lv_mm": "trans_thalamic"}


def known_sizes(record: Record) -> dict[str, float]:
    """The measures that the dataset states of what this image shows; HC18 and the phantom write 0 for what is not."""
    about = record.about
    return {
        name: about[name]
        for name in MEASURES
        if about.get(name, 0) > 0 and PLANES.get(name, about.get("plane")) == about.get("plane")
    }


def measured_and_known(dataset: Dataset) -> Iterator[tuple[str, float, float, float]]:
    """Of each image and stated size: its name, measured, stated, seconds that all measures took."""
    for record in dataset.records(dataset.names):
        start = time.perf_counter()
        values = measure(record.labels, dataset.facts.classes, record.spacing_mm)
        seconds = time.perf_counter() - start
        for name, size in known_sizes(record).items():
            yield name, values[name], size, seconds


def line(name: str, found: BlandAltman) -> str:
    absolute = np.abs(found.differences)
    numbers = f"{found.bias:8.3f}{found.sd:8.3f}{absolute.mean():8.3f}{absolute.max():8.3f}"
    return f"{name:16s}{found.n:6d}{found.n_missing:9d}{numbers}"


def main(name: str = "hc18/training", data_dir: str = "") -> None:
    dataset = Dataset(name, pathlib.Path(data_dir) if data_dir else default_data_dir())
    rows = list(measured_and_known(dataset))
    print(f"{name}: reference masks against stated sizes, mm (mean and max of the absolute difference)")
    print(f"{'':16s}{'n':>6s}{'missing':>9s}{'bias':>8s}{'SD':>8s}{'mean':>8s}{'max':>8s}")
    for measure_name in sorted({row[0] for row in rows}):
        pairs = np.array([row[1:3] for row in rows if row[0] == measure_name])
        print(line(measure_name, bland_altman(pairs[:, 0], pairs[:, 1])))
    print(f"median time of all measures of an image: {1e3 * np.median([row[3] for row in rows]):.1f} ms")


if __name__ == "__main__":
    sys.exit(exit_code("biometry_hc18", lambda: main(*sys.argv[1:3])))
