"""What a finished run leaves: scores of every stage, the final model, tables and the report."""

import dataclasses
import json
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fetal_jax import chosen, examples, findings, normals
from fetal_jax import config as configs
from fetal_jax.anomaly.detector import Detector
from fetal_jax.biometry.conformal import Calibration
from fetal_jax.cautions import of_run
from fetal_jax.chosen import NONE, Inference
from fetal_jax.evaluation import ensemble as ensembles
from fetal_jax.evaluation import segmenter as segmenters
from fetal_jax.evaluation.assess import Assessment, Clean, assess, look
from fetal_jax.evaluation.details import of_choice, of_scores
from fetal_jax.evaluation.ensemble import Ensemble
from fetal_jax.evaluation.intervals import intervals
from fetal_jax.evaluation.measurements import DETECTOR
from fetal_jax.evaluation.reader import AUTO
from fetal_jax.evaluation.report import Explanation, Report, write_report
from fetal_jax.evaluation.score import Scored, score, write_per_image
from fetal_jax.evaluation.segmenter import Segmenter
from fetal_jax.experiment import Experiment
from fetal_jax.types import UserError
from fetal_jax.workdir import Workdir, write_json
from fetal_jax.writers import read_metrics
from input_pipeline.splits import Splits

MOST_NORMALS = 500  # training images that what is normal is fitted on


@dataclasses.dataclass(frozen=True)
class Options:
    """How to evaluate; `tta` and `postprocess` are names, or AUTO: chosen on the validation images."""

    tta: str = NONE
    postprocess: str = AUTO
    ensemble: tuple[pathlib.Path, ...] = ()  # other runs to average with
    explain: int = 0  # test images, worst first


@dataclasses.dataclass(frozen=True)
class Tested:
    """The test set as the last network sees it by itself, and as answers are made in the end."""

    plain: Assessment
    final: Assessment  # with test-time augmentation, other networks and post-processing, as far as there are any


def evaluate(experiment: Experiment, workdir: Workdir, options: Options) -> dict[str, Any]:
    """Scores every finished stage on the test images and writes what a run leaves: see docs/evaluation.md.

    Raises UserError if no stage has finished, an option has an unknown name, or a run to average with knows the test
    subjects.
    """
    chosen.check(experiment, tta=options.tta, postprocess=options.postprocess)
    if options.explain < 0:
        raise UserError(f"--explain is {options.explain}: give the number of images to explain, 0 for none")
    names = [stage.name for stage in experiment.stages if (workdir.stage_model(stage.name) / "model.json").is_file()]
    if not names:
        raise UserError(f"{workdir.path} has no finished stage: run fetal-jax train with this --workdir first")
    others = _others(experiment, options.ensemble)
    scored, segmenter = _score_stages(experiment, workdir, names)
    inference = chosen.choose_inference(experiment, segmenter, tta=options.tta, postprocess=options.postprocess)
    answering = _answering(segmenter, inference, others)
    clean = inference.cleaner(experiment.facts.classes, experiment.facts.dims)
    tested = _test(experiment, segmenter, answering if answering is not segmenter else None, clean)
    scored[names[-1]] = tested.plain.scored
    validation = _validate(experiment, answering, clean)
    calibration = findings.calibrations(validation) if validation else {}
    detector = _detector(experiment, answering, validation)
    summary = _summary(experiment, workdir, scored, tested, inference, others)
    details = _details(experiment, workdir, summary, scored, tested, inference) | {
        "biometry": findings.biometry(tested.final, calibration),
        "anomaly": normals.of_test(detector, tested.final) if detector else None,
    }
    _publish(workdir, names[-1], inference, calibration, detector)
    write_per_image(workdir.path / "per_image.csv", tested.plain.scored)
    findings.write_tables(workdir.path, tested.final)
    write_json(workdir.path / "summary.json", summary)
    write_json(workdir.path / "details.json", details)
    report = _report(experiment, workdir, summary, details, segmenter, tested, options)
    write_report(workdir.path / "report.html", report)
    return summary


def _others(experiment: Experiment, runs: Sequence[pathlib.Path]) -> list[Segmenter]:
    """The networks to average with. Raises UserError if one has seen a test subject, or segments something else."""
    for run in runs:
        if not (run / "splits.json").is_file():
            raise UserError(f"--ensemble {run} is no workdir (no splits.json): give the --workdir of a finished run")
    dealt = {str(run): Splits.load(run / "splits.json") for run in runs}
    test = experiment.splits.parts["test"]
    ensembles.check_no_leak(dealt, experiment.splits.dataset, test, experiment.dataset.subjects)
    return [segmenters.load(run, batch_size=experiment.eval_batch_size) for run in runs]


def _score_stages(experiment: Experiment, workdir: Workdir, names: list[str]) -> tuple[dict[str, Scored], Segmenter]:
    """The scores of each stage's model but the last, and its segmenter. One compilation serves them all."""
    segmenter, scored = None, {}
    for name in names:
        _, variables = segmenters.read(workdir.stage_model(name))
        segmenter = segmenter.with_variables(variables) if segmenter else experiment.segmenter(variables, name)
        if name != names[-1]:
            records = experiment.dataset.records(experiment.splits.parts["test"])
            scored[name] = score(segmenter.probabilities, records, experiment.facts.classes)
    return scored, segmenter


def _answering(segmenter: Segmenter, inference: Inference, others: Sequence[Segmenter]) -> Segmenter | Ensemble:
    """The segmenter itself where nothing is added to it."""
    together = ensembles.ensemble([segmenter, *others]) if others else segmenter
    return together if inference.tta == NONE else together.with_tta(inference.tta)


def _test(
    experiment: Experiment, segmenter: Segmenter, answering: Segmenter | Ensemble | None, clean: Clean | None
) -> Tested:
    """`answering` is None where it is the segmenter by itself: then one pass serves both."""

    def on_test(network: Segmenter | Ensemble, clean: Clean | None) -> Assessment:
        records = experiment.dataset.records(experiment.splits.parts["test"])
        return assess(network.probabilities, records, experiment.facts.classes, clean)

    if answering is None:
        both = on_test(segmenter, clean)
        return Tested(both, both)
    return Tested(on_test(segmenter, None), on_test(answering, clean))


def _validate(experiment: Experiment, answering: Segmenter | Ensemble, clean: Clean | None) -> Assessment | None:
    """What is measured of the validation images; None for volumes, and where there are none."""
    names = experiment.splits.parts["validation"]
    if experiment.facts.dims != 2 or not names:
        return None
    return assess(answering.probabilities, experiment.dataset.records(names), experiment.facts.classes, clean)


def _detector(
    experiment: Experiment, answering: Segmenter | Ensemble, validation: Assessment | None
) -> Detector | None:
    """What is normal, by the training part; None for volumes, and where there is too little of it."""
    if experiment.facts.dims != 2:
        return None
    classes = experiment.facts.classes
    records = experiment.dataset.records(experiment.splits.parts["labelled"][:MOST_NORMALS])
    return normals.fit(look(answering.probabilities, records, classes), validation, classes)


def _summary(
    experiment: Experiment,
    workdir: Workdir,
    scored: Mapping[str, Scored],
    tested: Tested,
    inference: Inference,
    others: Sequence[Segmenter],
) -> dict[str, Any]:
    lines = read_metrics(workdir.path)
    stages = {name: s.summary() for name, s in scored.items()}
    final = list(scored)[-1]
    summary = {
        "dataset": experiment.dataset.name,
        "splits_hash": experiment.splits.hash,
        "classes": list(experiment.facts.classes),
        "model": experiment.model_settings["name"],
        "n_parameters": _n_parameters(workdir.stage_model(final)),
        "stages": stages,
        "test": stages[final],
        "final_stage": final,
        "tta": inference.tta,
        "postprocess": inference.postprocess,
        "intervals": intervals(tested.plain.scored),
        "seconds": {line["stage"]: line["seconds"] for line in lines if line.get("event") == "end"},
    }
    if tested.final is not tested.plain:
        summary["test_ensemble" if others else "test_tta"] = tested.final.scored.summary()
    if tested.final.cleaned:
        summary["test_cleaned"] = tested.final.cleaned.summary()
    return summary | {"warnings": of_run(experiment, workdir, summary["test"], final)}


def _n_parameters(model: pathlib.Path) -> int:
    """Trained and running numbers together, as Keras counts them."""
    with np.load(model / "weights.npz") as arrays:
        return sum(arrays[name].size for name in arrays)


def _details(
    experiment: Experiment,
    workdir: Workdir,
    summary: Mapping[str, Any],
    scored: Mapping[str, Scored],
    tested: Tested,
    inference: Inference,
) -> dict[str, Any]:
    details = of_scores(tested.plain)
    details["choices"] = {kind: of_choice(choice) for kind, choice in inference.choices.items()}
    details["uncertainty"] = findings.doubt(tested.final)
    before = findings.stage_before(list(scored), workdir.labelling_records(experiment.stages))
    if before:
        after = summary["final_stage"]
        details["gain"] = {"before": before, "after": after} | findings.gain(scored[before], scored[after])
    if "hd95_mm" not in summary["test"]["per_image"]:
        details["mm_note"] = findings.NO_SPACING
    return details | workdir.robustness()


def _publish(
    workdir: Workdir,
    stage: str,
    inference: Inference,
    calibration: Mapping[str, Calibration],
    detector: Detector | None,
) -> None:
    """The last stage's network as `model/`, with what was chosen for it, and what is normal."""
    card, variables = segmenters.read(workdir.stage_model(stage))
    widths = {key: c.half_width for key, c in calibration.items() if math.isfinite(c.half_width)}
    made = {"tta": inference.tta, "postprocess": inference.postprocess, "intervals_mm": widths}
    segmenters.save(workdir.path / "model", dataclasses.replace(card, **made), variables)
    if detector:
        detector.save(workdir.path / "model" / DETECTOR)


def _report(
    experiment: Experiment,
    workdir: Workdir,
    summary: dict[str, Any],
    details: dict[str, Any],
    segmenter: Segmenter,
    tested: Tested,
    options: Options,
) -> Report:
    return Report(
        title=f"{summary['model']} on {experiment.dataset.name}",
        config=configs.read(workdir.path),
        splits=json.loads(workdir.splits.read_text()),
        metrics=read_metrics(workdir.path),
        labelling=workdir.labelling_records(experiment.stages),
        summary=summary,
        facts=experiment.facts,
        examples=examples.of_test(experiment, segmenter, tested.plain.scored),
        pseudo_examples=examples.of_pool(experiment, workdir),
        details=details | {"intervals": summary["intervals"]},
        explanations=_explanations(experiment, workdir, segmenter, tested, options.explain),
    )


def _explanations(
    experiment: Experiment, workdir: Workdir, segmenter: Segmenter, tested: Tested, number: int
) -> list[Explanation]:
    _, variables = segmenters.read(workdir.path / "model")
    return examples.of_explanations(experiment, segmenter, variables, tested.plain.scored, number)
