"""Trains: gives the loop its components, and lets the published network label the unlabelled images."""

import dataclasses
import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from fetal_jax.core import processes
from fetal_jax.core.types import Preempted, Variables
from fetal_jax.evaluation.scores import Scored, score
from fetal_jax.experiment import Experiment
from fetal_jax.inference import segmenter as segmenters
from fetal_jax.inference.segmenter import Segmenter
from fetal_jax.methods.supervised import Supervised
from fetal_jax.metrics.overlap import Counts
from fetal_jax.training import loop
from fetal_jax.training import pseudo_labels as labellers
from fetal_jax.training.checkpoints import Checkpoints
from fetal_jax.training.components import LoopComponents
from fetal_jax.training.metric_writer import Progress, RunWriter, SilentWriter
from fetal_jax.training.stages import Stage
from fetal_jax.workdir import Workdir
from input_pipeline.dataset import NetImages
from input_pipeline.patch_stream import PatchStream, Volumes
from input_pipeline.streams import PseudoLabels, Stream

Source = NetImages | Volumes


def train(experiment: Experiment, workdir: Workdir, stop: Callable[[], bool]) -> None:
    """Runs the protocol to its end, from wherever the workdir is. Leaves a model directory for each stage.

    Raises Preempted when `stop` said so and everything is saved, training.monitor.Diverged, or CheckpointError.
    """
    checkpoints = Checkpoints(workdir.path, {"split": experiment.splits.hash})
    fresh = checkpoints.latest_progress() is None
    state = experiment.initial_state() if fresh else experiment.abstract_state()
    labelled, unlabelled = experiment.source("labelled"), experiment.source("unlabelled")
    validator = experiment.segmenter(next(iter(state.networks.values())), "validation")
    total = _total_steps(experiment, labelled, unlabelled)
    progress = Progress(total) if processes.is_main() else Progress(total, stream=io.StringIO())

    def resolve(index: int, published: Variables | None) -> tuple[Stage, Stream | PatchStream]:
        stage = experiment.stages[index]
        labelling = published is not None and stage.pseudo_labeller
        if labelling:
            label(experiment, workdir, stage, validator.with_variables(processes.local(published)), unlabelled, stop)
        pseudo = _latest_labels(experiment, workdir, index)
        if labelling and pseudo is not None:
            progress.message(_labelling_line(stage, pseudo))
        stage = _as_it_can_be_run(stage, pseudo)
        return stage, experiment.stream(stage, index, labelled, unlabelled, pseudo)

    def finish(stage: Stage, best: Callable[[], Variables]) -> None:
        # A model that is there was written before the next stage could put its own best network in the checkpoint.
        if not workdir.has_model(stage.name):
            variables = processes.local(best())
            if processes.is_main():
                segmenters.save(workdir.stage_model(stage.name), experiment.inference_config(stage.name), variables)
        processes.wait_for_all(f"model of {stage.name}")

    with _writer(workdir, checkpoints.latest_step) as writer:
        parts = LoopComponents(
            stages=experiment.stages,
            resolve=resolve,
            make_optimizer=experiment.make_optimizer,
            compile_step=experiment.compile_step,
            create=experiment.create_variables,
            kept=lambda name: segmenters.read(workdir.stage_model(name))[1],
            validate=lambda variables: validate(experiment, validator.with_variables(processes.local(variables))),
            finish=finish,
            stop=stop,
            checkpoints=checkpoints,
            writer=writer,
            progress=progress,
            mesh=experiment.mesh,
            seed=experiment.settings.seed,
            validate_every=experiment.settings.validate_every,
            log_every=experiment.settings.log_every,
        )
        try:
            loop.run_protocol(parts, state)
        finally:
            progress.close()
            checkpoints.close()


def _writer(workdir: Workdir, resume_step: int) -> RunWriter | SilentWriter:
    """One process writes the record of the run."""
    return RunWriter(workdir.path, resume_step=resume_step) if processes.is_main() else SilentWriter()


def validate(experiment: Experiment, segmenter: Segmenter) -> dict[str, float]:
    """Per-image means on the validation images; without those that are undefined, empty if there are no images.

    Every process scores its share of the images. Raises FloatingPointError where the output is not a number.
    """
    names = experiment.splits.parts["validation"]
    if not names:
        return {}
    scored = _score_shared(segmenter, experiment, names)
    means = {metric: values["mean"] for metric, values in scored.summary()["per_image"].items()}
    return {metric: value for metric, value in means.items() if value is not None}


def _score_shared(segmenter: Segmenter, experiment: Experiment, names: Sequence[str]) -> Scored:
    """The scores of all named images, of which every process segments its share."""
    classes, mine = experiment.facts.classes, processes.share(names)
    rows, failed = [np.zeros((4, len(classes) - 1), np.int64)] * len(mine), False
    try:
        if mine:
            counts = score(segmenter.probabilities, experiment.dataset.records(mine), classes).counts
            rows = list(np.stack([counts.tp, counts.fp, counts.fn, counts.tn], axis=1))
    except FloatingPointError:
        failed = True  # told to all before any of them raises: the others would wait for this process for ever
    if processes.agree(failed):
        raise FloatingPointError("the probabilities of a validation image are not numbers")
    everyone = np.stack(processes.gathered(rows, len(names), np.zeros((4, len(classes) - 1), np.int64)))
    counts = Counts(*np.moveaxis(everyone, 1, 0))
    subjects = tuple(experiment.dataset.subjects[name] for name in names)
    return Scored(tuple(names), subjects, tuple(classes[1:]), counts)


def _as_it_can_be_run(stage: Stage, pseudo: PseudoLabels | None) -> Stage:
    """The stage itself; supervised where the pseudo-labeller kept nothing."""
    if not stage.method.pseudo_labels or pseudo is None or pseudo.kept.any():
        return stage
    return dataclasses.replace(stage, method=Supervised(), data=("labelled",), pseudo_labeller="")


def _total_steps(experiment: Experiment, labelled: Source, unlabelled: Source) -> int:
    """Steps of the whole protocol if every unlabelled image is kept: what the progress bar counts up to."""
    stages = experiment.stages
    streams = [experiment.stream(stage, i, labelled, unlabelled, None) for i, stage in enumerate(stages)]
    return sum(stage.epochs * stream.steps_per_epoch for stage, stream in zip(stages, streams, strict=True))


def label(
    experiment: Experiment,
    workdir: Workdir,
    stage: Stage,
    teacher: Segmenter,
    unlabelled: Source,
    stop: Callable[[], bool],
) -> None:
    """Lets the teacher label the unlabelled items, and writes labels and the reasons for what was dropped.

    Every process labels its share; the first one writes. Each file is written atomically.
    """
    judge = labellers.make_pseudo_labeller(stage.pseudo_labeller, dataclasses.asdict(experiment.settings.pseudo_labels))
    mine = processes.share(range(len(unlabelled)))

    def images() -> Iterator[np.ndarray]:
        for i in mine:
            if stop() and processes.count() == 1:
                raise Preempted  # nothing is lost: labelling starts again from the same teacher
            yield unlabelled.image(i)

    probabilities = teacher.training_probabilities(images())
    answers = [judge(probs, unlabelled.valid(i)) for i, probs in zip(mine, probabilities, strict=True)]
    workdir.begin_labels(stage.name)
    for i, answer in zip(mine, answers, strict=True):
        workdir.save_label(stage.name, i, answer)
    processes.wait_for_all(f"labels of {stage.name}")
    if processes.is_main():
        answers = [workdir.load_label(stage.name, i) for i in range(len(unlabelled))]
        workdir.finish_labels(stage.name, _record(experiment, stage, answers))
    processes.wait_for_all(f"record of the labels of {stage.name}")


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
        "labeller": stage.pseudo_labeller,
        "settings": dataclasses.asdict(experiment.settings.pseudo_labels)
        if stage.pseudo_labeller == "threshold"
        else {},
        "n_pool": len(answers),
        "n_kept": sum(answer.kept for answer in answers),
        "images": images,
    }


def _latest_labels(experiment: Experiment, workdir: Workdir, index: int) -> PseudoLabels | None:
    """The pseudo-labels as of stage `index`: those of the last stage up to it that has a pseudo-labeller."""
    named = [stage.name for stage in experiment.stages[: index + 1] if stage.pseudo_labeller]
    return workdir.load_labels(named[-1]) if named else None


def _labelling_line(stage: Stage, labels: PseudoLabels) -> str:
    n_kept = int(labels.kept.sum())
    line = f"{stage.name}: the teacher labelled {len(labels.kept)} images, {n_kept} kept"
    return line if n_kept else line + ": this stage goes on with the labelled images alone"
