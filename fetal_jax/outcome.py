"""What a finished run leaves: scores of every stage, the final model, tables and the report."""

import dataclasses
import json
import pathlib
from typing import Any

import numpy as np

from fetal_jax import config as configs
from fetal_jax.evaluation import segmenter as segmenters
from fetal_jax.evaluation.report import Example, Report, write_report
from fetal_jax.evaluation.score import Scored, score, write_per_image
from fetal_jax.evaluation.segmenter import Segmenter
from fetal_jax.experiment import Experiment
from fetal_jax.training.labellers import KEPT
from fetal_jax.types import UserError
from fetal_jax.workdir import Workdir, write_json
from fetal_jax.writers import read_metrics
from input_pipeline import augment

N_EXAMPLES = 3  # of the best, the median and the worst images, and of kept and dropped pseudo-labels


def evaluate(experiment: Experiment, workdir: Workdir, *, tta: bool) -> dict[str, Any]:
    """Scores every finished stage on the test images; writes `model/`, `summary.json`, `per_image.csv`, `report.html`.

    Raises UserError if no stage has finished.
    """
    finished = [stage for stage in experiment.stages if (workdir.stage_model(stage.name) / "model.json").is_file()]
    if not finished:
        raise UserError(f"{workdir.path} has no finished stage: run fetal-jax train with this --workdir first")
    segmenter, scored = _score_stages(experiment, workdir, [stage.name for stage in finished])
    final = finished[-1].name
    summary = _summary(experiment, workdir, scored, final)
    if tta:
        summary["test_tta"] = _score(experiment, segmenter.with_flips()).summary()
    _publish(workdir.stage_model(final), workdir.path / "model")
    write_per_image(workdir.path / "per_image.csv", scored[final])
    write_json(workdir.path / "summary.json", summary)
    write_report(workdir.path / "report.html", _report(experiment, workdir, summary, segmenter, scored[final]))
    return summary


def _score_stages(experiment: Experiment, workdir: Workdir, names: list[str]) -> tuple[Segmenter, dict[str, Scored]]:
    """The scores of each stage's model, and the segmenter of the last one. One compilation serves them all."""
    segmenter, scored = None, {}
    for name in names:
        _, variables = segmenters.read(workdir.stage_model(name))
        segmenter = segmenter.with_variables(variables) if segmenter else experiment.segmenter(variables, name)
        scored[name] = _score(experiment, segmenter)
    return segmenter, scored


def _score(experiment: Experiment, segmenter: Segmenter) -> Scored:
    records = experiment.dataset.records(experiment.splits.parts["test"])
    return score(segmenter.probabilities, records, experiment.facts.classes)


def _summary(experiment: Experiment, workdir: Workdir, scored: dict[str, Scored], final: str) -> dict[str, Any]:
    lines = read_metrics(workdir.path)
    seconds = {line["stage"]: line["seconds"] for line in lines if line.get("event") == "end"}
    stages = {name: s.summary() for name, s in scored.items()}
    return {
        "dataset": experiment.dataset.name,
        "splits_hash": experiment.splits.hash,
        "classes": list(experiment.facts.classes),
        "model": experiment.model_settings["name"],
        "n_parameters": _n_parameters(workdir.stage_model(final)),
        "stages": stages,
        "test": stages[final],
        "final_stage": final,
        "seconds": seconds,
        "warnings": _warnings(experiment, workdir, stages[final], final),
    }


def _n_parameters(model: pathlib.Path) -> int:
    """Trained and running numbers together, as Keras counts them."""
    with np.load(model / "weights.npz") as arrays:
        return sum(arrays[name].size for name in arrays)


def _warnings(experiment: Experiment, workdir: Workdir, test: dict[str, Any], final: str) -> list[str]:
    warnings = list(experiment.warnings)
    if final != experiment.stages[-1].name:
        warnings.append(f"The run has not finished: these are the scores of stage {final}.")
    if len(experiment.splits.parts["validation"]) == 0:
        warnings.append("There are no validation images: every stage keeps its last network, not its best.")
    if test["n_subjects"] < 30:
        warnings.append(f"Only {test['n_subjects']} test subjects: differences of a few points mean nothing.")
    blurs = augment.blurs(experiment.stages[-1].augment)
    if blurs != {experiment.blur}:
        warnings.append(
            f"evaluation.blur is {experiment.blur}, but the last stage trained with a blur of "
            f"{' and '.join(map(str, sorted(blurs)))}: the network is tested on other images than it knows."
        )
    for record in labelling_records(experiment, workdir):
        if record["n_kept"] == 0:
            warnings.append(
                f"The labeller kept none of {record['n_pool']} images before stage {record['stage']}: "
                "that stage went on with the labelled images alone."
            )
    for name in experiment.facts.foreground:
        if test["pooled"]["recall"][name] == 0:
            warnings.append(f"The network finds no pixel of {name} in any test image.")
    for name, cases in test["absent"].items():
        if cases["both"]:
            warnings.append(f"{name}: absent from {cases['both']} images and predictions, whose scores are undefined.")
    return warnings


def labelling_records(experiment: Experiment, workdir: Workdir) -> list[dict[str, Any]]:
    """What each labelling stage that has run did with the pool."""
    records = [workdir.labelling_record(stage.name) for stage in experiment.stages if stage.labeller]
    return [record for record in records if record]


def _publish(stage_model: pathlib.Path, destination: pathlib.Path) -> None:
    card, variables = segmenters.read(stage_model)
    segmenters.save(destination, card, variables)


def _report(
    experiment: Experiment, workdir: Workdir, summary: dict[str, Any], segmenter: Segmenter, scored: Scored
) -> Report:
    return Report(
        title=f"{summary['model']} on {experiment.dataset.name}",
        config=configs.read(workdir.path),
        splits=json.loads(workdir.splits.read_text()),
        metrics=read_metrics(workdir.path),
        labelling=labelling_records(experiment, workdir),
        summary=summary,
        facts=experiment.facts,
        examples=_examples(experiment, segmenter, scored),
        pseudo_examples=_pseudo_examples(experiment, workdir),
    )


def _examples(experiment: Experiment, segmenter: Segmenter, scored: Scored) -> list[Example]:
    """The best, median and worst test images, as the final network segments them."""
    dice = scored.dice()
    defined = [int(i) for i in np.argsort(-dice, kind="stable") if not np.isnan(dice[i])]
    number = N_EXAMPLES if experiment.facts.dims == 2 else 1  # a volume takes longer
    middle = max(0, len(defined) // 2 - number // 2)
    chosen = {"best": defined[:number], "median": defined[middle:][:number], "worst": defined[-number:]}
    examples = []
    for title, indices in chosen.items():
        for i in indices:
            record = experiment.dataset[scored.names[i]]
            prediction = dataclasses.replace(record, labels=segmenter(record.image).labels).picture_labels()
            pictures = record.picture(), record.picture_labels(), prediction
            examples.append(Example(title, record.name, record.subject, float(dice[i]), *pictures))
    return examples


def _pseudo_examples(experiment: Experiment, workdir: Workdir) -> list[Example]:
    """Some kept and some dropped pseudo-labels of the last labelling, at network size."""
    labelling = labelling_records(experiment, workdir)
    if not labelling:
        return []
    images, pool = labelling[-1]["images"], experiment.images("unlabelled")
    labels = workdir.load_labels(labelling[-1]["stage"]).labels
    kept = [i for i, image in enumerate(images) if image["kept"]]
    dropped = [i for i, image in enumerate(images) if not image["kept"]]
    examples = []
    for i in [*kept[:N_EXAMPLES], *dropped[:N_EXAMPLES]]:
        title = KEPT if images[i]["kept"] else images[i]["reason"]
        image = pool[i]["image"][..., 0]
        examples.append(Example(title, images[i]["name"], images[i]["subject"], None, image, None, labels[i]))
    return examples
