"""Says how long a report takes to write and how large it is: of made-up numbers of 1,000 images with 5 structures.

    python benchmarks/report.py [--images 1000] [--out FILE]

A report has to be written in 60 s and to be at most 20 MB. Nothing is trained; no number of the page means anything.
"""

import argparse
import pathlib
import sys
import tempfile
import time
from collections.abc import Sequence

if not __package__:
    sys.path[0] = str(pathlib.Path(__file__).parents[1])  # a script finds its neighbours as a module does

import numpy as np

from fetal_jax.core.types import DatasetFacts
from fetal_jax.evaluation.payload import plain
from fetal_jax.metrics.overlap import METRICS
from fetal_jax.metrics.surface import SURFACE_METRICS_MM, SURFACE_METRICS_PX
from fetal_jax.reporting.report import Example, Explanation, Report, write_report

STRUCTURES = ("brain", "cerebellum", "cavum", "ventricle", "midline")
SHAPE = (540, 800)
MOST_SECONDS, MOST_MEGABYTES = 60, 20


def made_up(n_images: int) -> Report:
    """A report with every section there is."""
    rng = np.random.default_rng(0)
    test = _scores(rng, n_images)
    stages = dict.fromkeys(("decoder", "fine_tune", "retrain"), test)
    summary = {"dataset": "made_up", "model": "none", "stages": stages, "test": test, "final_stage": "retrain"}
    summary |= {"test_tta": test, "test_cleaned": test, "warnings": ["Every number of this page is made up."]}
    names = [f"{i:04d}" for i in range(n_images)]
    return Report(
        title=f"Made-up report of {n_images} images",
        config={},
        splits={"hash": "0" * 64, "seed": 0, "parts": {"labelled": names, "test": names}, "n_subjects": {}},
        metrics=_training(rng),
        labelling=[_labelling(rng, names)],
        summary=summary,
        facts=DatasetFacts(
            name="made_up",
            title="nothing real",
            classes=("background", *STRUCTURES),
            colours=((0, 0, 0),) * (len(STRUCTURES) + 1),
            subject_rule="its number",
            licence="none",
            citation="",
        ),
        examples=[_example(rng, title, i) for title in ("worst", "median", "best") for i in range(12)],
        pseudo_examples=[_example(rng, "kept", i) for i in range(6)],
        details=_details(rng, n_images),
        explanations=[_explanation(rng, i) for i in range(8)],
    )


def _scores(rng: np.random.Generator, n_images: int) -> dict:
    metrics = [*METRICS, *SURFACE_METRICS_PX, *SURFACE_METRICS_MM]

    def table(names: Sequence[str]) -> dict:
        return {metric: dict(zip(names, rng.uniform(0.7, 1, len(names)), strict=True)) for metric in metrics}

    scores = {average: table((*STRUCTURES, "mean")) for average in ("per_image", "per_subject", "pooled")}
    absent = {name: {"reference": 3, "prediction": 4, "both": 5} for name in STRUCTURES}
    defined = {metric: dict.fromkeys(STRUCTURES, n_images - 5) for metric in metrics}
    about = {"n_images": n_images, "n_subjects": n_images // 2, "absent": absent, "defined": defined}
    return scores | about | {"median": table(STRUCTURES)}


def _details(rng: np.random.Generator, n: int) -> dict:
    names = ("background", *STRUCTURES)
    classes = {name: {"share": 1 / len(names)} for name in names}
    averages = {average: _intervals() for average in ("per_image", "per_subject", "pooled")}
    candidates = [{"name": name, "mean": 0.9, "difference": 0.0, "p": 0.5} for name in ("none", "flips", "scales")]
    choice = {"chosen": "none", "reason": "made up", "candidates": candidates}
    gain = {"before": "fine_tune", "after": "retrain", "n": n // 2, "difference": 0.004, "low": -0.001, "high": 0.009}
    sizes = ("hc_mm", "bpd_mm", "ofd_mm", "tcd_mm", "lv_mm", "csp_mm")
    return plain(
        {
            "intervals": averages,
            "overall": {"pixel_accuracy": 0.97, "macro": {"dice": 0.8}, "micro": {"dice": 0.9}, "n_defined": 5}
            | {"classes": classes},
            "curves": dict.fromkeys(STRUCTURES, _curves()),
            "confusion": {"classes": names, "pixels": rng.integers(1, 10**6, (6, 6)) + 10**7 * np.eye(6, dtype=int)},
            "calibration": {"ece": 0.02, "brier": 0.03, "bins": _bins()},
            "choices": {"tta": choice, "postprocess": choice},
            "gain": gain | {"wilcoxon_p": 0.2, "effect": 0.1, "smallest_gain": 0.006, "verdict": "made up"},
            "biometry": {"measures": {key: _measure(rng, key, n) for key in sizes}},
            "uncertainty": _doubt(rng, n),
            "anomaly": _anomaly(rng, n),
            "robustness": _robustness(n),
        }
    )


def _intervals() -> dict:
    return {metric: {name: [0.8, 0.9] for name in (*STRUCTURES, "mean")} for metric in METRICS}


def _curves() -> dict:
    x = np.linspace(0, 1, 2000)
    return {"roc": {"x": x, "y": x**0.02, "auc": 0.98}, "pr": {"x": x, "y": 1 - x**30, "auc": 0.97}}


def _bins() -> list[dict]:
    return [{"confidence": c, "accuracy": c**2, "share": 0.1} for c in np.linspace(0.3, 1, 10)]


def _doubt(rng: np.random.Generator, n: int) -> dict:
    areas = {"area": 0.1, "random": 0.15, "ideal": 0.08, "correlation": 0.6}
    return {"coverage": np.arange(1, n + 1) / n, "risk": np.sort(rng.uniform(0, 0.3, n)), **areas}


def _anomaly(rng: np.random.Generator, n: int) -> dict:
    numbers = {"auroc": 0.93, "low": 0.9, "high": 0.95, "kinds": {"large ventricle": 0.95}, "note": "Made up."}
    return {"normal": rng.gamma(3, 0.5, n), "anomalous": rng.gamma(6, 0.7, n // 4), **numbers}


def _robustness(n: int) -> dict:
    def row(strength: int) -> dict:
        dice, drop = 0.9 - strength / 20, strength / 20
        numbers = {"dice": dice, "low": dice - 0.02, "high": dice + 0.02, "drop": drop, "p": 0.01}
        return {"strength": strength, "unit": "units", **numbers}

    rows = {f"perturbation {i}": [row(strength) for strength in range(1, 6)] for i in range(7)}
    clean = {"dice": 0.9, "low": 0.88, "high": 0.92}
    return {"n_images": n, "n_subjects": n // 2, "clean": clean, "perturbations": rows}


def _measure(rng: np.random.Generator, title: str, n_images: int) -> dict:
    numbers = {"bias": 0.1, "sd": 2.0, "low": -3.8, "high": 4.0, "mad": 1.5, "half_width": 3.2, "coverage": 0.9}
    points = {"reference": rng.uniform(50, 300, n_images), "difference": rng.normal(0.1, 2, n_images)}
    return {"title": title, "unit": "mm", "n": n_images, "n_missing": 0, "n_calibration": 100, **numbers, **points}


def _training(rng: np.random.Generator) -> list[dict]:
    losses = rng.uniform(0.1, 0.2, 50_000)
    names = ("decoder", "fine_tune", "retrain")
    lines = [{"kind": "train", "step": i, "stage": names[i // 20_000], "loss": loss} for i, loss in enumerate(losses)]
    return lines + [
        {"kind": "validation", "step": i, "stage": names[i // 20_000], "dice": 0.8} for i in range(0, 50_000, 500)
    ]


def _labelling(rng: np.random.Generator, names: Sequence[str]) -> dict:
    images = [
        {"name": name, "kept": kept, "reason": "kept" if kept else "small", "pixels": 900.0, "confidence": sure}
        for name, kept, sure in zip(
            names, rng.uniform(size=len(names)) < 0.8, rng.uniform(size=len(names)), strict=True
        )
    ]
    kept = sum(image["kept"] for image in images)
    return {"stage": "retrain", "labeller": "threshold", "n_pool": len(names), "n_kept": kept, "images": images}


def _picture(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An image as noisy as can be, with a disc for each structure and a prediction beside it."""
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    labels = np.zeros(SHAPE, np.uint8)
    for i in range(len(STRUCTURES)):
        labels[(rows - 270) ** 2 + (columns - 120 - 130 * i) ** 2 < 50**2] = i + 1
    return rng.integers(0, 256, SHAPE, np.uint8), labels, np.roll(labels, 9, axis=1)


def _example(rng: np.random.Generator, title: str, number: int) -> Example:
    return Example(title, f"{number:04d}", str(number), 0.9, *_picture(rng))


def _explanation(rng: np.random.Generator, number: int) -> Explanation:
    maps = {f"map {i}": rng.integers(0, 256, (*SHAPE, 3), np.uint8) for i in range(5)}
    return Explanation(f"{number:04d}", str(number), STRUCTURES[0], *_picture(rng), maps, ["Made up."], 0.5)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints seconds and megabytes; 1 where a limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--out", type=pathlib.Path, help="keep the report there")
    args = parser.parse_args(arguments)
    if args.images < 10:
        parser.error("--images must be at least 10")
    report = made_up(args.images)
    with tempfile.TemporaryDirectory() as folder:
        path = args.out or pathlib.Path(folder) / "report.html"
        start = time.perf_counter()
        write_report(path, report)
        seconds, megabytes = time.perf_counter() - start, path.stat().st_size / 1e6
    print(f"{args.images} images: {seconds:.1f} s (limit {MOST_SECONDS}), {megabytes:.2f} MB (limit {MOST_MEGABYTES})")
    return int(seconds > MOST_SECONDS or megabytes > MOST_MEGABYTES)


if __name__ == "__main__":
    sys.exit(main())
