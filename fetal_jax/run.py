"""Runs an experiment in a workdir: gives the loop its parts, and lets teachers label the pool."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fetal_jax.checkpoint import Checkpoints
from fetal_jax.evaluation import segmenter as segmenters
from fetal_jax.evaluation.score import score
from fetal_jax.evaluation.segmenter import Segmenter
from fetal_jax.experiment import Experiment
from fetal_jax.training import labellers, loop
from fetal_jax.training.stages import Stage
from fetal_jax.training.state import TrainState
from fetal_jax.types import Preempted, Variables
from fetal_jax.volumes import patch_stream
from fetal_jax.workdir import Workdir
from fetal_jax.writers import Progress, RunWriter
from input_pipeline.dataset import NetImages
from input_pipeline.patches import PatchStream, Volumes
from input_pipeline.pipeline import PseudoLabels, Stream


def train(experiment: Experiment, workdir: Workdir, stop: Callable[[], bool]) -> None:
    """Runs the protocol to its end, from wherever the workdir is. Leaves a model directory for each stage.

    Raises Preempted when `stop` said so and everything is saved, loop.Diverged, or CheckpointError.
    """
    checkpoints = Checkpoints(workdir.path, {"split": experiment.splits.hash})
    fresh = checkpoints.latest_progress() is None
    state = experiment.initial_state() if fresh else experiment.abstract_state()
    labelled = experiment.images("labelled")
    pool = experiment.images("unlabelled")
    validator = experiment.segmenter(state.student, "validation")
    progress = Progress(_total_steps(experiment, labelled, pool))

    def prepare(index: int, state: TrainState, fresh: bool) -> tuple[Stage, Stream | PatchStream]:
        stage = experiment.stages[index]
        if fresh and stage.labeller:
            label(experiment, workdir, stage, validator, state.teacher, pool, stop)
            progress.message(_labelling_line(workdir, stage))
        return make_stream(experiment, index, labelled, pool, _latest_labels(experiment, workdir, index))

    def finish(stage: Stage, best: Callable[[], Variables]) -> None:
        # A model that is there was written before the next stage could put its own best network in the checkpoint.
        if not (workdir.stage_model(stage.name) / "model.json").is_file():
            segmenters.save(workdir.stage_model(stage.name), experiment.card(stage.name), best())

    with RunWriter(workdir.path, resume_step=checkpoints.latest_step) as writer:
        parts = loop.Parts(
            model=experiment.model,
            stages=experiment.stages,
            class_weights=experiment.class_weights,
            make_optimizer=experiment.make_optimizer,
            prepare=prepare,
            validate=lambda variables: validate(experiment, validator.with_variables(variables)),
            finish=finish,
            stop=stop,
            checkpoints=checkpoints,
            writer=writer,
            progress=progress,
            mesh=experiment.mesh,
            seed=experiment.seed,
            validate_every=experiment.validate_every,
            log_every=experiment.log_every,
        )
        try:
            loop.run_protocol(parts, state)
        finally:
            progress.close()
            checkpoints.close()


def validate(experiment: Experiment, segmenter: Segmenter) -> dict[str, float]:
    """Per-image means on the validation images; without those that are undefined, empty if there are no images.

    Raises FloatingPointError where the network's output is not a number.
    """
    names = experiment.splits.parts["validation"]
    if not names:
        return {}
    scored = score(segmenter.probabilities, experiment.dataset.records(names), experiment.facts.classes)
    means = {metric: values["mean"] for metric, values in scored.summary()["per_image"].items()}
    return {metric: value for metric, value in means.items() if value is not None}


def make_stream(
    experiment: Experiment,
    index: int,
    labelled: NetImages | Volumes,
    pool: NetImages | Volumes,
    pseudo: PseudoLabels | None,
) -> tuple[Stage, Stream | PatchStream]:
    """A stage as it can be run, and its data. Where the labeller kept nothing the stage goes on supervised."""
    stage, seed = experiment.stages[index], 1000 * experiment.seed + index
    if isinstance(labelled, Volumes):
        drawn = {"size": experiment.size, "batch_size": experiment.batch_size, "seed": seed}
        return stage, patch_stream(labelled, stage, experiment.patches, **drawn)
    if pseudo is not None and not pseudo.kept.any():
        stage = dataclasses.replace(stage, pool="labelled", consistency=0.0)
    stream = Stream(
        labelled=labelled,
        unlabelled=pool if stage.pool == "both" else None,
        pseudo=pseudo,
        batch_size=experiment.batch_size,
        n_unlabelled=experiment.unlabelled_per_batch,
        augment=stage.augment,
        strong=stage.consistency > 0,
        seed=seed,
        draws=experiment.draws,
        intensity=experiment.intensity,
    )
    return stage, stream


def _total_steps(experiment: Experiment, labelled: NetImages | Volumes, pool: NetImages | Volumes) -> int:
    """Steps of the whole protocol if every pool image is kept: what the progress bar counts up to."""
    streams = [make_stream(experiment, i, labelled, pool, None) for i in range(len(experiment.stages))]
    return sum(stage.epochs * stream.steps_per_epoch for stage, stream in streams)


def label(
    experiment: Experiment,
    workdir: Workdir,
    stage: Stage,
    segmenter: Segmenter,
    teacher: Variables,
    pool: NetImages,
    stop: Callable[[], bool],
) -> None:
    """Lets the teacher label the pool, and writes labels and the reasons for what was dropped, each file whole."""
    judge = labellers.make_labeller(stage.labeller, experiment.labelling)
    valid = [pool[i]["weights"] for i in range(len(pool))]

    def inputs() -> Iterator[np.ndarray]:
        for i in range(len(pool)):
            if stop():
                raise Preempted  # nothing is lost: labelling starts again from the same teacher
            yield segmenter.prepare_net(pool[i]["image"])

    answers = [judge(probs, v) for probs, v in zip(segmenter.net_probabilities(inputs(), teacher), valid, strict=True)]
    workdir.save_labels(stage.name, answers, _record(experiment, stage, answers))


def _record(experiment: Experiment, stage: Stage, answers: list[labellers.PseudoLabel]) -> dict[str, Any]:
    images = [
        {
            "name": name,
            "subject": experiment.dataset.subjects[name],
            "kept": answer.kept,
            "reason": answer.reason,
            "pixels": answer.pixels,
            "confidence": answer.confidence,
        }
        for name, answer in zip(experiment.splits.parts["unlabelled"], answers, strict=True)
    ]
    return {
        "stage": stage.name,
        "labeller": stage.labeller,
        "settings": experiment.labelling if stage.labeller == "threshold" else {},
        "n_pool": len(answers),
        "n_kept": sum(answer.kept for answer in answers),
        "images": images,
    }


def _latest_labels(experiment: Experiment, workdir: Workdir, index: int) -> PseudoLabels | None:
    """The pool's labels as of stage `index`: those of the last stage up to it that has a labeller."""
    named = [stage.name for stage in experiment.stages[: index + 1] if stage.labeller]
    return workdir.load_labels(named[-1]) if named else None


def _labelling_line(workdir: Workdir, stage: Stage) -> str:
    record = workdir.labelling_record(stage.name)
    line = f"{stage.name}: the teacher labelled {record['n_pool']} images, {record['n_kept']} kept"
    return line if record["n_kept"] else line + ": this stage goes on with the labelled images alone"
