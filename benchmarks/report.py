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
from fetal_jax.evaluation.protocol import (
    LabellingResult,
    PseudoLabelFacts,
    StageResult,
    TrainingCurve,
    TrainingHistory,
)
from fetal_jax.evaluation.results import (
    AnomalyResult,
    AurocResult,
    BiometryResult,
    CalibrationResult,
    ClassCurves,
    ConfusionResult,
    CorruptionResult,
    DeviantSubject,
    DiceInterval,
    GainResult,
    MeanSdN,
    MeasureResult,
    OverallResult,
    PairedTestsResult,
    PixelCurve,
    PixelResult,
    ReliabilityBin,
    RobustnessResult,
    ScoresResult,
    SeedsResult,
    SeedsRow,
    UncertaintyResult,
)
from fetal_jax.evaluation.scores import Absence, Intervals, Scores, ScoreTable
from fetal_jax.evaluation.selection import Candidate, Selection
from fetal_jax.evaluation.uncertainty import RiskCoverageCurve
from fetal_jax.metrics.registry import COUNT_METRICS
from fetal_jax.metrics.surface import SURFACE_METRICS_MM, SURFACE_METRICS_PX
from fetal_jax.reporting.report import Explanation, GalleryImage, PseudoLabelsResult, Report, write_report
from input_pipeline.splits import Splits

STAGES = ("decoder", "fine_tune", "retrain")
STRUCTURES = ("brain", "cerebellum", "cavum", "ventricle", "midline")
SHAPE = (540, 800)
MOST_SECONDS, MOST_MEGABYTES = 60, 20


def made_up(n_images: int) -> Report:
    """A report with every section there is."""
    rng = np.random.default_rng(0)
    names = tuple(f"{i:04d}" for i in range(n_images))
    labelling = _labelling(rng, names)
    return Report(
        title=f"Made-up report of {n_images} images",
        facts=DatasetFacts(
            name="made_up",
            title="nothing real",
            classes=("background", *STRUCTURES),
            colours=((0, 0, 0),) * (len(STRUCTURES) + 1),
            subject_rule="its number",
            licence="none",
            citation="",
        ),
        config={},
        dataset="made_up",
        model="none",
        splits=Splits("made_up", 0, {"labelled": names, "test": names}, {}),
        warnings=("Every number of this page is made up.",),
        protocol=tuple(_stage(name, labelling if name == "retrain" else None) for name in STAGES),
        history=_training(rng),
        scores=_scores(rng, n_images),
        tests=_tests(n_images),
        pixels=_pixels(rng, n_images),
        uncertainty=_uncertainty(rng, n_images),
        biometry=_biometry(rng, n_images),
        anomaly=_anomaly(rng, n_images),
        robustness=_robustness(n_images),
        gallery=tuple(_image(rng, title, i) for title in ("worst", "median", "best") for i in range(12)),
        pseudo_labels=PseudoLabelsResult((labelling,), tuple(_image(rng, "kept", i) for i in range(6))),
        explanations=tuple(_explanation(rng, i) for i in range(8)),
    )


def _stage(name: str, labelling: LabellingResult | None) -> StageResult:
    return StageResult(name, 10, 1e-3, (), "dice", labelling is not None, 60.0, labelling)


def _scores(rng: np.random.Generator, n_images: int) -> ScoresResult:
    test = _averages(rng, n_images)
    metrics = [*COUNT_METRICS, *SURFACE_METRICS_PX]
    table = {metric: {name: [0.8, 0.9] for name in (*STRUCTURES, "mean")} for metric in metrics}
    averages = dict.fromkeys(name for name, metric in COUNT_METRICS.items() if metric.averaged)
    overall = OverallResult(
        pixel_accuracy=0.97,
        mean_iou=0.8,
        mean_iou_foreground=0.8,
        foreground_iou=0.9,
        frequency_weighted_iou=0.95,
        macro=dict.fromkeys(averages, 0.8),
        micro=dict.fromkeys(averages, 0.9),
        classes={name: {"share": 1 / 6} for name in ("background", *STRUCTURES)},
        n_defined=5,
    )
    return ScoresResult(
        foreground=STRUCTURES,
        stages=dict.fromkeys(STAGES, test),
        intervals=Intervals(table, table, table),
        overall=overall,
        tta="flips",
        postprocess="largest",
        with_tta=test,
        postprocessed=test,
        before_labelling="fine_tune",
        kept_pseudo_labels=True,
    )


def _averages(rng: np.random.Generator, n_images: int) -> Scores:
    metrics = [*COUNT_METRICS, *SURFACE_METRICS_PX, *SURFACE_METRICS_MM]

    def table(names: Sequence[str]) -> ScoreTable:
        return {metric: dict(zip(names, rng.uniform(0.7, 1, len(names)).tolist(), strict=True)) for metric in metrics}

    per_image, per_subject, pooled = (table((*STRUCTURES, "mean")) for _ in range(3))
    return Scores(
        per_image=per_image,
        per_subject=per_subject,
        pooled=pooled,
        median=table(STRUCTURES),
        defined={metric: dict.fromkeys(STRUCTURES, n_images - 5) for metric in metrics},
        n_images=n_images,
        n_subjects=n_images // 2,
        absent={name: Absence(3, 4, 5) for name in STRUCTURES},
    )


def _tests(n: int) -> PairedTestsResult:
    names = ("none", "flips", "scales")
    selection = Selection("none", "none", tuple(Candidate(name, 0.9, 0, n, 0.0, 0.5) for name in names), "made up")
    gain = GainResult(
        before="fine_tune",
        after="retrain",
        n=n // 2,
        n_dropped=0,
        difference=0.004,
        low=-0.001,
        high=0.009,
        wilcoxon_p=0.2,
        permutation_p=0.2,
        effect=0.1,
        smallest_gain=0.006,
        verdict="made up",
    )
    return PairedTestsResult(gain, {"tta": selection, "postprocess": selection})


def _pixels(rng: np.random.Generator, n_images: int) -> PixelResult:
    x = np.linspace(0, 1, 2000)
    roc, pr = (PixelCurve(tuple(x.tolist()), tuple(y.tolist()), 0.98) for y in (x**0.02, 1 - x**30))
    pixels = rng.integers(1, 10**6, (6, 6)) + 10**7 * np.eye(6, dtype=int)
    bins = tuple(ReliabilityBin(c, c**2, 0.1) for c in np.linspace(0.3, 1, 10).tolist())
    return PixelResult(
        n_images=n_images,
        curves=dict.fromkeys(STRUCTURES, ClassCurves(roc, pr)),
        confusion=ConfusionResult(("background", *STRUCTURES), tuple(map(tuple, pixels.tolist()))),
        calibration=CalibrationResult(0.02, 0.03, bins),
    )


def _uncertainty(rng: np.random.Generator, n: int) -> UncertaintyResult:
    curve = RiskCoverageCurve(np.arange(1, n + 1) / n, np.sort(rng.uniform(0, 0.3, n)), 0.1, 0.08, 0.15, 0)
    return UncertaintyResult(curve, 0.6)


def _biometry(rng: np.random.Generator, n: int) -> BiometryResult:
    sizes = ("hc_mm", "bpd_mm", "ofd_mm", "tcd_mm", "lv_mm", "csp_mm")
    heads = {"df_mm": MeanSdN(0.1, 2.0, n), "dice": MeanSdN(0.97, 0.01, n)}
    return BiometryResult({key: _measure(rng, key, n) for key in sizes}, heads, "Made up.")


def _measure(rng: np.random.Generator, title: str, n_images: int) -> MeasureResult:
    return MeasureResult(
        title=title,
        unit="mm",
        n=n_images,
        n_missing=0,
        bias=0.1,
        sd=2.0,
        low=-3.8,
        high=4.0,
        mad=1.5,
        reference=tuple(rng.uniform(50, 300, n_images).tolist()),
        difference=tuple(rng.normal(0.1, 2, n_images).tolist()),
        half_width=3.2,
        n_calibration=100,
        coverage=0.9,
    )


def _anomaly(rng: np.random.Generator, n: int) -> AnomalyResult:
    return AnomalyResult(
        normal=tuple(rng.gamma(3, 0.5, n).tolist()),
        anomalous=tuple(rng.gamma(6, 0.7, n // 4).tolist()),
        most=(DeviantSubject("0001", "1", 9.0, "made up"),),
        n_refused=0,
        n_images=n,
        note="Made up.",
        separation=AurocResult(0.93, 0.9, 0.95, {"large ventricle": 0.95}),
    )


def _robustness(n: int) -> RobustnessResult:
    def row(strength: int) -> CorruptionResult:
        dice, drop = 0.9 - strength / 20, strength / 20
        return CorruptionResult(strength, "units", dice, dice - 0.02, dice + 0.02, drop, drop, drop, 0.01, n)

    def seeds(strength: float) -> SeedsRow:
        return SeedsRow(strength, 0.9, 0.01, 0.8, 0.7, 0.9)

    names, strengths = [f"corruption {i}" for i in range(7)], range(1, 6)
    return RobustnessResult(
        n_images=n,
        n_subjects=n // 2,
        smallest_p=0.0,
        clean=DiceInterval(0.9, 0.88, 0.92),
        perturbations={name: tuple(row(strength) for strength in strengths) for name in names},
        seeds=SeedsResult(("a", "b"), seeds(0), {name: tuple(map(seeds, strengths)) for name in names}),
    )


def _training(rng: np.random.Generator) -> TrainingHistory:
    loss = TrainingCurve(tuple(range(50_000)), tuple(rng.uniform(0.1, 0.2, 50_000).tolist()))
    dice = TrainingCurve(tuple(range(0, 50_000, 500)), (0.8,) * 100)
    return TrainingHistory(dict(zip(STAGES, (0, 20_000, 40_000), strict=True)), {"loss": loss}, dice, {})


def _labelling(rng: np.random.Generator, names: Sequence[str]) -> LabellingResult:
    kept, sure = rng.uniform(size=len(names)) < 0.8, rng.uniform(size=len(names))
    images = tuple(
        PseudoLabelFacts(name, name, bool(k), "kept" if k else "small", 900.0, float(s))
        for name, k, s in zip(names, kept, sure, strict=True)
    )
    return LabellingResult("retrain", "threshold", {"threshold": 0.95}, len(names), int(kept.sum()), images)


def _picture(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An image as noisy as can be, with a disc for each structure and a prediction beside it."""
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    labels = np.zeros(SHAPE, np.uint8)
    for i in range(len(STRUCTURES)):
        labels[(rows - 270) ** 2 + (columns - 120 - 130 * i) ** 2 < 50**2] = i + 1
    return rng.integers(0, 256, SHAPE, np.uint8), labels, np.roll(labels, 9, axis=1)


def _image(rng: np.random.Generator, title: str, number: int) -> GalleryImage:
    return GalleryImage(title, f"{number:04d}", str(number), 0.9, *_picture(rng))


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
