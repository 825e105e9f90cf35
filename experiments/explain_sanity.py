"""Says whether explanations of a trained network depend on what it learnt.

    python experiments/explain_sanity.py --workdir runs/hc18 [--images N] [--steps N] [--out FILE]

Weights become random from the logits down to the image, and each method's map is compared with that of the trained
network: see docs/explain.md. A row of the table has the mean rank correlation over test images once all blocks down to
the named one are random. Beside the methods stands an edge detector, which knows no network and so must fail.
"""

import argparse
import functools
import pathlib
import sys
from collections.abc import Callable, Sequence

if not __package__:
    sys.path[0] = str(pathlib.Path(__file__).parents[1])  # a script finds its neighbours as a module does

import jax
import numpy as np
from skimage.filters import sobel

from fetal_jax.core import config
from fetal_jax.core.atomic import replacing_file
from fetal_jax.core.errors import exit_code
from fetal_jax.core.types import UserError, Variables
from fetal_jax.evaluation import explain
from fetal_jax.evaluation.explain.target import predicted_labels, predicted_region
from fetal_jax.experiment import Experiment
from fetal_jax.inference import segmenter as segmenters
from fetal_jax.inference.apply import network_input
from fetal_jax.models import build_model
from input_pipeline.dataset import default_data_dir
from input_pipeline.letterbox import Letterbox

CLASS_ID = 1  # the first foreground class

Method = Callable[[Variables], np.ndarray]
Checks = dict[str, dict[str, explain.Similarity]]  # by method, by block


def methods(model, image: np.ndarray, layer: str | None, region: np.ndarray, frame: np.ndarray) -> dict[str, Method]:
    """The maps of an image by method, each a function of the network's variables."""
    fixed = image, CLASS_ID
    return {
        "Grad-CAM": lambda v: explain.grad_cam(model, v, *fixed, layer, region).raw,
        "guided Grad-CAM": lambda v: explain.guided_grad_cam(model, v, *fixed, layer, region).raw,
        "guided backpropagation": lambda v: explain.gradient(model, v, *fixed, region, guided=True).raw,
        "gradient": lambda v: explain.gradient(model, v, *fixed, region).raw,
        "occlusion": lambda v: explain.occlusion(model, v, *fixed, region, frame=frame).raw,
        "edge detector": lambda v: sobel(image[..., 0]),
    }


def check(workdir: pathlib.Path, data_dir: pathlib.Path, n_images: int, n_steps: int) -> list[Checks]:
    """The checks of the first test images on which the network finds something.

    Raises UserError if the run has no model, is on volumes, or finds nothing in any image.
    """
    inference, variables = segmenters.read(workdir)
    if inference.facts.dims != 2:  # explanations are drawn on images
        raise UserError(f"{workdir} is a run on volumes: explanations are of images, give one on images")
    experiment, model, found = Experiment(config.read(workdir), data_dir), build_model(**inference.model), []
    for record in experiment.dataset.records(experiment.splits.parts["test"]):
        image = network_input(record.image, inference.size, inference.blur, inference.intensity)
        geometry, key = Letterbox.fit(record.image.shape[:2], inference.size), jax.random.key(len(found))
        frame = geometry.weights() > 0
        region, nothing = predicted_region(predicted_labels(model, variables, image), CLASS_ID, frame)
        if nothing:
            continue
        order, layer = explain.blocks(model, image), explain.default_layer(model, variables, image)
        maps = methods(model, image, layer, region, frame)
        checks = {}
        for name, method in maps.items():
            inside = functools.partial(_inside, geometry, method)
            checks[name] = explain.sanity(inside, variables, key, order, n_steps)
        found.append(checks)
        print(f"{record.name} checked", file=sys.stderr)
        if len(found) == n_images:
            return found
    if not found:
        raise UserError(f"{workdir}: the network finds nothing in any test image, so there is nothing to explain")
    return found


def _inside(geometry: Letterbox, method: Method, variables: Variables) -> np.ndarray:
    """A method's map without the padding that fills the network's square."""
    (top, left), (height, width) = geometry.offset, geometry.resized_shape
    return method(variables)[top : top + height, left : left + width]


def table(found: list[Checks]) -> str:
    """Markdown: mean rank correlations by block and method, and in how many images a method passed.

    A map that has become constant has no rank correlation: means are over the others, whose number stands behind where
    it is smaller.
    """
    names = list(found[0])
    lines = [f"| random down to | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for block in found[0][names[0]]:
        cells = [_mean([checks[name][block].rank_correlation for checks in found]) for name in names]
        lines.append(f"| {block} | {' | '.join(cells)} |")
    verdicts = [f"{sum(explain.passed(checks[name]) for checks in found)} of {len(found)}" for name in names]
    return "\n".join([*lines, f"| **passed** | {' | '.join(verdicts)} |"]) + "\n"


def _mean(values: list[float]) -> str:
    defined = [value for value in values if not np.isnan(value)]
    if not defined:
        return "constant"
    return f"{np.mean(defined):.2f}" + (f" ({len(defined)})" if len(defined) < len(values) else "")


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table and writes it if asked to; 2 and a line where the input is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workdir", required=True, type=pathlib.Path)
    parser.add_argument("--data-dir", type=pathlib.Path, default=default_data_dir())
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--steps", type=int, default=5, help="how many depths of the cascade to look at")
    parser.add_argument("--out", type=pathlib.Path, help="also write the table here")
    args = parser.parse_args(arguments)
    if min(args.images, args.steps) < 1:
        parser.error("--images and --steps must be at least 1")
    if args.out and not args.out.parent.is_dir():
        parser.error(f"--out {args.out}: its folder must exist")
    return exit_code("explain_sanity", lambda: work(args))


def work(args: argparse.Namespace) -> None:
    text = table(check(args.workdir, args.data_dir, args.images, args.steps))
    print(text, end="")
    if args.out:
        with replacing_file(args.out) as partial:
            partial.write_text(text)


if __name__ == "__main__":
    sys.exit(main())
