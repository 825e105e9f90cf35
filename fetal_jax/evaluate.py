"""Evaluates a run: inference on its test images, typed results, and the files and the report made of them."""

import dataclasses
import math
import pathlib
from collections.abc import Sequence

import numpy as np

from fetal_jax.core import config as configs
from fetal_jax.core.json_files import write_json
from fetal_jax.core.types import UserError
from fetal_jax.evaluation import findings, normative, robustness
from fetal_jax.evaluation.inference import InferenceResult, run_inference, scores_result
from fetal_jax.evaluation.protocol import LabellingResult, StageResult, TrainingHistory, TrainingRecord
from fetal_jax.evaluation.results import EvaluationResult, PairedTestsResult
from fetal_jax.evaluation.scores import EvaluationData, write_per_image
from fetal_jax.evaluation.selection import NONE, check_names
from fetal_jax.evaluation.warnings import TrainingFacts, run_warnings
from fetal_jax.experiment import Experiment
from fetal_jax.inference import ensemble as ensembles
from fetal_jax.inference import segmenter as segmenters
from fetal_jax.inference.measurements import DETECTOR
from fetal_jax.inference.predictor import AUTO
from fetal_jax.inference.segmenter import Segmenter
from fetal_jax.reporting import gallery
from fetal_jax.reporting.report import PseudoLabelsResult, Report, write_report
from fetal_jax.training.metric_writer import read_metrics
from fetal_jax.workdir import Workdir
from input_pipeline import augment
from input_pipeline.splits import Splits


@dataclasses.dataclass(frozen=True)
class Options:
    """How to evaluate; `tta` and `postprocess` are names, or AUTO: selected on the validation images."""

    tta: str = NONE
    postprocess: str = AUTO
    ensemble: tuple[pathlib.Path, ...] = ()  # other runs to average with
    explain: int = 0  # test images, worst first


def evaluate(experiment: Experiment, workdir: Workdir, options: Options) -> EvaluationResult:
    """Scores every finished stage on the test images and writes what a run leaves: see docs/evaluation.md.

    Raises UserError if no stage has finished, an option is wrong, or a run to average with knows the test subjects.
    """
    data = evaluation_data(experiment)
    _check(data, options)
    models = finished_models(experiment, workdir)
    others = _others(experiment, workdir, options.ensemble)
    inferred = run_inference(
        data, models, experiment.segmenter, others, tta=options.tta, postprocess=options.postprocess
    )
    training = _training_record(experiment, workdir)
    result = _result(experiment, workdir, training, inferred, options.ensemble)
    if not options.ensemble:  # what holds of several networks is not what one of them can promise
        _publish(workdir, inferred)
    write_per_image(workdir.path / "per_image.csv", inferred.plain.scored)
    findings.write_tables(workdir.path, inferred.final)
    write_json(workdir.path / "details.json", result.details(), format=1)
    report = _report(experiment, workdir, data, training, inferred, result, options.explain)
    write_report(workdir.path / "report.html", report)
    # Last: where it is, the others are of the same evaluation.
    write_json(workdir.path / "summary.json", result.summary(), format=1)
    return result


def evaluation_data(experiment: Experiment) -> EvaluationData:
    """What evaluation needs of an experiment's dataset."""
    return EvaluationData(experiment.dataset, experiment.splits.parts, experiment.facts)


def _check(data: EvaluationData, options: Options) -> None:
    if options.explain < 0:
        raise UserError(f"--explain is {options.explain}: give the number of images to explain, 0 for none")
    if options.explain and not data.has_anatomy:
        raise UserError(f"--explain is {options.explain}: explanations are of images, and this run has volumes")
    check_names(data, tta=options.tta, postprocess=options.postprocess)


def finished_models(experiment: Experiment, workdir: Workdir) -> dict[str, pathlib.Path]:
    """The model folder of each finished stage, in order. Raises UserError if there is none."""
    folders = {stage.name: workdir.stage_model(stage.name) for stage in experiment.stages}
    models = {name: folder for name, folder in folders.items() if (folder / "model.json").is_file()}
    if not models:
        raise UserError(f"{workdir.path} has no finished stage: run fetal-jax train with this --workdir first")
    return models


def _others(experiment: Experiment, workdir: Workdir, runs: Sequence[pathlib.Path]) -> list[Segmenter]:
    """The networks to average with. Raises UserError if one has seen a test subject, or segments something else."""
    paths = [workdir.path.resolve(), *(run.resolve() for run in runs)]
    if len(set(paths)) < len(paths):
        raise UserError("--ensemble names a run twice, or the run itself: give each other run once")
    for run in runs:
        if not (run / "splits.json").is_file():
            raise UserError(f"--ensemble {run} is not a workdir (no splits.json): give the --workdir of a finished run")
    splits = {str(run): Splits.load(run / "splits.json") for run in runs}
    test = experiment.splits.parts["test"]
    ensembles.check_no_leak(splits, experiment.splits.dataset, test, experiment.dataset.subjects)
    return [segmenters.load(run, batch_size=experiment.settings.evaluation.batch_size) for run in runs]


def _training_record(experiment: Experiment, workdir: Workdir) -> TrainingRecord:
    history = TrainingHistory.from_lines(
        read_metrics(workdir.path), {name for stage in experiment.stages for name in stage.scheduled}
    )
    records = workdir.labelling_records(experiment.stages)
    labelling = tuple(LabellingResult.from_json(record) for record in records)
    names = [stage.name for stage in experiment.stages]
    before = dict.fromkeys(names) | {each.stage: each for each in labelling}
    seconds = dict.fromkeys(names) | dict(history.seconds)
    stages = tuple(
        StageResult(
            name=stage.name,
            epochs=stage.epochs,
            learning_rate=stage.learning_rate,
            frozen=stage.frozen,
            objective=stage.objective,
            uses_unlabelled=stage.method.unlabelled,
            seconds=seconds[stage.name],
            labelling=before[stage.name],
        )
        for stage in experiment.stages
        if stage.name in history.stage_starts
    )
    return TrainingRecord(stages, history, labelling)


def _result(
    experiment: Experiment,
    workdir: Workdir,
    training: TrainingRecord,
    inferred: InferenceResult,
    ensemble: Sequence[pathlib.Path],
) -> EvaluationResult:
    scores = scores_result(training, inferred, ensemble)
    before = scores.before_labelling
    final, detector = inferred.final, inferred.detector
    return EvaluationResult(
        dataset=experiment.dataset.name,
        splits_hash=experiment.splits.hash,
        classes=experiment.facts.classes,
        model=experiment.model_settings["name"],
        n_parameters=_n_parameters(workdir.stage_model(inferred.stage)),
        initial_weights=workdir.initial_weights(experiment.pretrained),
        seconds=training.history.seconds,
        warnings=run_warnings(_training_facts(experiment, training, inferred.stage), scores.test, scores.foreground),
        scores=scores,
        tests=PairedTestsResult(
            gain=findings.gain_result(inferred.scored, before, inferred.stage) if before else None,
            selections=inferred.settings.selections,
        ),
        pixels=findings.pixel_result(inferred.plain),
        uncertainty=findings.uncertainty_result(final),
        biometry=findings.biometry_result(final, inferred.calibration),
        anomaly=normative.anomaly_result(detector, final) if detector else None,
        robustness=robustness.read(workdir.path),
    )


def _training_facts(experiment: Experiment, training: TrainingRecord, final_stage: str) -> TrainingFacts:
    last = experiment.stages[-1]
    return TrainingFacts(
        final_stage=final_stage,
        last_stage=last.name,
        n_validation=len(experiment.splits.parts["validation"]),
        blur=experiment.settings.evaluation.blur,
        training_blurs=frozenset(augment.blurs(last.augment)),
        labelling=training.labelling,
        notes=tuple(experiment.warnings),
    )


def _n_parameters(model: pathlib.Path) -> int:
    """Trained and running numbers together, as Keras counts them."""
    with np.load(model / "weights.npz") as arrays:
        return sum(arrays[name].size for name in arrays)


def _publish(workdir: Workdir, inferred: InferenceResult) -> None:
    """Saves `model/`: the last stage's network with its inference settings, intervals and anomaly detector."""
    config, variables = segmenters.read(workdir.stage_model(inferred.stage))
    widths = {key: c.half_width for key, c in inferred.calibration.items() if math.isfinite(c.half_width)}
    settings = inferred.settings
    config = dataclasses.replace(config, tta=settings.tta, postprocess=settings.postprocess, intervals_mm=widths)
    segmenters.save(workdir.path / "model", config, variables)
    if inferred.detector:
        inferred.detector.save(workdir.path / "model" / DETECTOR)


def _report(
    experiment: Experiment,
    workdir: Workdir,
    data: EvaluationData,
    training: TrainingRecord,
    inferred: InferenceResult,
    result: EvaluationResult,
    explain: int,
) -> Report:
    scored = inferred.plain.scored
    return Report(
        title=f"{result.model} on {result.dataset}",
        facts=experiment.facts,
        config=configs.read(workdir.path),
        dataset=result.dataset,
        model=result.model,
        n_parameters=result.n_parameters,
        initial_weights=result.initial_weights,
        splits=Splits.load(workdir.splits),
        warnings=result.warnings,
        protocol=training.stages,
        history=training.history,
        scores=result.scores,
        tests=result.tests,
        pixels=result.pixels,
        uncertainty=result.uncertainty,
        biometry=result.biometry,
        anomaly=result.anomaly,
        robustness=result.robustness,
        gallery=gallery.test_gallery(data, inferred.segmenter, scored),
        pseudo_labels=PseudoLabelsResult(training.labelling, _pool_gallery(experiment, workdir, training.labelling)),
        explanations=gallery.explanations(data, inferred.segmenter, inferred.variables, scored, explain),
    )


def _pool_gallery(
    experiment: Experiment, workdir: Workdir, labelling: Sequence[LabellingResult]
) -> tuple[gallery.GalleryImage, ...]:
    """Some kept and some dropped pseudo-labels of the last labelling."""
    if not labelling:
        return ()
    pool = experiment.source("unlabelled")
    return gallery.pseudo_label_gallery(labelling[-1], pool, workdir.load_labels(labelling[-1].stage).labels)
