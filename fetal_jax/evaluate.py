"""What a finished run leaves: scores of every stage, the final model, tables and the report."""

import dataclasses
import json
import math
import pathlib
from typing import Any

import numpy as np

from fetal_jax.core import config as configs
from fetal_jax.core.types import UserError
from fetal_jax.evaluated import Evaluated, Options, find_out
from fetal_jax.evaluation import findings
from fetal_jax.evaluation import normative as normals
from fetal_jax.evaluation.confidence_intervals import intervals
from fetal_jax.evaluation.payload import of_choice, of_scores, stage_before
from fetal_jax.evaluation.scores import write_per_image
from fetal_jax.evaluation.warnings import of_run
from fetal_jax.experiment import Experiment
from fetal_jax.inference import segmenter as segmenters
from fetal_jax.inference.measurements import DETECTOR
from fetal_jax.reporting import gallery as examples
from fetal_jax.reporting.report import Report, write_report
from fetal_jax.training.metric_writer import read_metrics
from fetal_jax.workdir import Workdir, write_json


def evaluate(experiment: Experiment, workdir: Workdir, options: Options) -> dict[str, Any]:
    """Scores every finished stage on the test images and writes what a run leaves: see docs/evaluation.md.

    Raises UserError if no stage has finished, an option is wrong, or a run to average with knows the test subjects.
    """
    if options.explain < 0:
        raise UserError(f"--explain is {options.explain}: give the number of images to explain, 0 for none")
    if options.explain and experiment.facts.dims != 2:
        raise UserError(f"--explain is {options.explain}: explanations are of images, and this run has volumes")
    found = find_out(experiment, workdir, options)
    summary, details = _summary(experiment, workdir, found), _details(experiment, workdir, found)
    if not found.ensemble:  # what holds of several networks is not what one of them can promise
        _publish(workdir, found)
    write_per_image(workdir.path / "per_image.csv", found.plain.scored)
    findings.write_tables(workdir.path, found.final)
    write_json(workdir.path / "details.json", details)
    write_report(workdir.path / "report.html", _report(experiment, workdir, summary, details, found, options.explain))
    write_json(workdir.path / "summary.json", summary)  # last: where it is, the others are of the same evaluation
    return summary


def _summary(experiment: Experiment, workdir: Workdir, found: Evaluated) -> dict[str, Any]:
    lines = read_metrics(workdir.path)
    stages = {name: s.summary() for name, s in found.scored.items()}
    summary = {
        "dataset": experiment.dataset.name,
        "splits_hash": experiment.splits.hash,
        "classes": list(experiment.facts.classes),
        "model": experiment.model_settings["name"],
        "n_parameters": _n_parameters(workdir.stage_model(found.stage)),
        "stages": stages,
        "test": stages[found.stage],
        "final_stage": found.stage,
        "tta": found.inference.tta,
        "postprocess": found.inference.postprocess,
        "choices": {kind: choice.reason for kind, choice in found.inference.choices.items()},
        "ensemble": list(found.ensemble),
        "intervals": intervals(found.plain.scored),
        "seconds": {line["stage"]: line["seconds"] for line in lines if line.get("event") == "end"},
    }
    if found.final is not found.plain:
        summary["test_ensemble" if found.ensemble else "test_tta"] = found.final.scored.summary()
    if found.final.cleaned:
        summary["test_cleaned"] = found.final.cleaned.summary()
    return summary | {"warnings": of_run(experiment, workdir, summary["test"], found.stage)}


def _n_parameters(model: pathlib.Path) -> int:
    """Trained and running numbers together, as Keras counts them."""
    with np.load(model / "weights.npz") as arrays:
        return sum(arrays[name].size for name in arrays)


def _details(experiment: Experiment, workdir: Workdir, found: Evaluated) -> dict[str, Any]:
    details = of_scores(found.plain) | {
        "choices": {kind: of_choice(choice) for kind, choice in found.inference.choices.items()},
        "uncertainty": findings.doubt(found.final),
        "biometry": findings.biometry(found.final, found.calibration),
        "anomaly": normals.of_test(found.detector, found.final) if found.detector else None,
    }
    before = stage_before(list(found.scored), workdir.labelling_records(experiment.stages))
    if before:
        stages = {"before": before, "after": found.stage}
        details["gain"] = stages | findings.gain(found.scored[before], found.scored[found.stage])
    if "hd95_mm" not in found.plain.scored.distances:
        details["mm_note"] = findings.NO_SPACING
    return details | workdir.robustness()


def _publish(workdir: Workdir, found: Evaluated) -> None:
    """The last stage's network as `model/`, with how its answers were made, how far off they may be, and normals."""
    card, variables = segmenters.read(workdir.stage_model(found.stage))
    widths = {key: c.half_width for key, c in found.calibration.items() if math.isfinite(c.half_width)}
    made = {"tta": found.inference.tta, "postprocess": found.inference.postprocess, "intervals_mm": widths}
    segmenters.save(workdir.path / "model", dataclasses.replace(card, **made), variables)
    if found.detector:
        found.detector.save(workdir.path / "model" / DETECTOR)


def _report(
    experiment: Experiment,
    workdir: Workdir,
    summary: dict[str, Any],
    details: dict[str, Any],
    found: Evaluated,
    explain: int,
) -> Report:
    scored = found.plain.scored
    return Report(
        title=f"{summary['model']} on {experiment.dataset.name}",
        config=configs.read(workdir.path),
        splits=json.loads(workdir.splits.read_text()),
        metrics=read_metrics(workdir.path),
        labelling=workdir.labelling_records(experiment.stages),
        summary=summary,
        facts=experiment.facts,
        examples=examples.of_test(experiment, found.segmenter, scored),
        pseudo_examples=examples.of_pool(experiment, workdir),
        details=details | {"intervals": summary["intervals"]},
        explanations=examples.of_explanations(experiment, found.segmenter, found.variables, scored, explain),
    )
