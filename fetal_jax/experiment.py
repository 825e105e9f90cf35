"""From settings to the parts of a run. The one place where all rooms of the house meet."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fetal_jax import config as configs
from fetal_jax import mesh as meshes
from fetal_jax.checkpoint import Checkpoints
from fetal_jax.evaluation import segmenter as segmenters
from fetal_jax.evaluation.score import score
from fetal_jax.evaluation.segmenter import ModelCard, Segmenter
from fetal_jax.losses import compose
from fetal_jax.models import build_model
from fetal_jax.training import labellers, loop
from fetal_jax.training.optimizers import make_optimizer
from fetal_jax.training.stages import Stage, make_protocol
from fetal_jax.training.state import TrainState, create_train_state
from fetal_jax.types import UserError, Variables
from fetal_jax.writers import Progress, RunWriter
from input_pipeline import augment
from input_pipeline.dataset import Dataset, NetImages
from input_pipeline.pipeline import PseudoLabels, Stream
from input_pipeline.splits import Splits, make_splits


class Experiment:
    """A checked config and what it describes: data, splits, network, protocol. Nothing is written here."""

    def __init__(self, settings: dict[str, Any], data_dir: pathlib.Path):
        """Reads every setting. Raises UserError naming the key that is wrong, missing, or read by nothing."""
        s = configs.Settings(settings)
        self.seed, self.size, self.batch_size = s.seed, s.size, s.batch_size
        self.unlabelled_per_batch = s.unlabelled_per_batch
        self.validate_every, self.log_every = s.validate_every, s.log_every
        self.eval_batch_size, self.blur, self.tta = (
            s.evaluation.batch_size,
            s.evaluation.blur,
            s.evaluation.tta,
        )
        self.labelling, self.optimizer = s.labelling.to_dict(), s.optimizer.to_dict()
        self.stages = make_protocol(s.protocol, s.stages.to_dict(), s.rounds)
        dataset, structures, split, model = s.dataset, s.structures, s.split.to_dict(), s.model.to_dict()
        configs.reject_unread(s)
        self._check_numbers()
        self.dataset = Dataset(dataset, data_dir, structures)
        self.facts = self.dataset.facts
        self.splits = self._deal(split)
        n_classes = len(self.facts.classes)
        self.model_settings = model | {"num_classes": 1 if n_classes == 2 else n_classes}
        self.model = build_model(**self.model_settings)
        self.mesh = meshes.make_mesh()
        meshes.check_divisible(
            self.mesh,
            **{
                "batch_size": self.batch_size,
                "unlabelled_per_batch": self.unlabelled_per_batch,
                "evaluation.batch_size": self.eval_batch_size,
            },
        )
        for stage in self.stages:
            self.check_stage(stage)

    def _check_numbers(self) -> None:
        positive = ("size", "batch_size", "validate_every", "log_every", "eval_batch_size")
        for name in positive:
            if getattr(self, name) < 1:
                raise UserError(
                    f"{name.replace('eval_', 'evaluation.')} is {getattr(self, name)}: it must be at least 1"
                )
        if not 0 <= self.unlabelled_per_batch < self.batch_size:
            raise UserError(
                f"unlabelled_per_batch is {self.unlabelled_per_batch}: it must be at least 0 and less than "
                f"batch_size, {self.batch_size}"
            )

    def check_stage(self, stage: Stage) -> None:
        """Raises UserError where a stage names something that does not exist, or draws on an empty pool."""
        compose.supervised(stage.objective)
        self.make_optimizer(stage)
        augment.check(stage.augment)
        if stage.labeller:
            labellers.make_labeller(stage.labeller, self.labelling)
        if stage.pool == "both" and not (self.splits.parts["unlabelled"] and self.unlabelled_per_batch):
            raise UserError(
                f"stages.{stage.name}.pool is 'both' but there are no unlabelled images to draw: raise "
                "split.unlabelled and unlabelled_per_batch, or set the pool to labelled"
            )

    def _deal(self, split: dict[str, int]) -> Splits:
        names = self.dataset.names
        return make_splits(
            names,
            [self.dataset.subjects[name] for name in names],
            [self.dataset.labelled[name] for name in names],
            **{key if key == "seed" else f"n_{key}": value for key, value in split.items()},
            dataset=self.dataset.name,
        )

    def make_optimizer(self, stage: Stage):
        return make_optimizer(**self.optimizer, frozen=stage.frozen)

    def initial_state(self) -> TrainState:
        return create_train_state(self.model, self.seed, (self.size, self.size, self.facts.channels))

    def images(self, part: str) -> NetImages:
        """The images of a part at network size."""
        return NetImages(self.dataset, self.splits.parts[part], self.size)

    def card(self, stage: str) -> ModelCard:
        return ModelCard(self.model_settings, self.size, self.blur, self.facts, self.splits.hash, stage)

    def segmenter(self, variables: Variables, stage: str) -> Segmenter:
        """The network with these weights, in native geometry."""
        return Segmenter(self.card(stage), variables, batch_size=self.eval_batch_size)


@dataclasses.dataclass(frozen=True)
class Workdir:
    """The files of a run."""

    path: pathlib.Path

    def claim(self, settings: dict[str, Any], splits: Splits) -> None:
        """Makes a new workdir ours, or checks that an existing one is of this config and split."""
        configs.write_or_compare(settings, self.path)
        if not self.splits.exists():
            splits.save(self.splits)
        self.check_splits(splits)

    def check_splits(self, splits: Splits) -> None:
        """Raises UserError if the dataset has changed since the run began: its images would be dealt differently."""
        if Splits.load(self.splits).hash != splits.hash:
            raise UserError(
                f"{self.splits} is not how this dataset is dealt any more (it changed): choose another --workdir"
            )

    @property
    def splits(self) -> pathlib.Path:
        return self.path / "splits.json"

    def stage_model(self, stage: str) -> pathlib.Path:
        return self.path / "stages" / stage

    def labels(self, stage: str) -> pathlib.Path:
        return self.path / "labels" / f"{stage}.npz"

    def labelling(self, stage: str) -> pathlib.Path:
        return self.path / "labels" / f"{stage}.json"


def train(experiment: Experiment, workdir: Workdir, stop: Callable[[], bool]) -> None:
    """Runs the protocol to its end, from wherever the workdir is. Leaves a model directory for each stage.

    Raises loop.Preempted when `stop` said so and everything is saved, loop.Diverged, or CheckpointError.
    """
    checkpoints = Checkpoints(workdir.path)
    state = experiment.initial_state()
    labelled = experiment.images("labelled")
    pool = experiment.images("unlabelled")
    validator = experiment.segmenter(state.student, "validation")
    progress = Progress(_total_steps(experiment, labelled, pool))

    def validate(variables: Variables) -> dict[str, float]:
        records = experiment.dataset.records(experiment.splits.parts["validation"])
        if not experiment.splits.parts["validation"]:
            return {}
        scored = score(validator.with_variables(variables).probabilities, records, experiment.facts.classes)
        means = {metric: values["mean"] for metric, values in scored.summary()["per_image"].items()}
        return {metric: -1.0 if value is None else value for metric, value in means.items()}

    def prepare(index: int, state: TrainState, fresh: bool) -> tuple[Stage, Stream]:
        stage = experiment.stages[index]
        if fresh and stage.labeller:
            label(experiment, workdir, stage, validator, state.teacher, pool, stop)
            progress.message(_labelling_line(workdir, stage))
        return make_stream(experiment, index, labelled, pool, _latest_labels(experiment, workdir, index))

    def finish(stage: Stage, best: Variables) -> None:
        segmenters.save(workdir.stage_model(stage.name), experiment.card(stage.name), best)

    with RunWriter(workdir.path, resume_step=checkpoints.latest_step) as writer:
        parts = loop.Parts(
            model=experiment.model,
            stages=experiment.stages,
            make_optimizer=experiment.make_optimizer,
            prepare=prepare,
            validate=validate,
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


def make_stream(
    experiment: Experiment, index: int, labelled: NetImages, pool: NetImages, pseudo: PseudoLabels | None
) -> tuple[Stage, Stream]:
    """A stage as it can be run, and its data. Where the labeller kept nothing the stage goes on supervised."""
    stage = experiment.stages[index]
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
        seed=1000 * experiment.seed + index,
    )
    return stage, stream


def _total_steps(experiment: Experiment, labelled: NetImages, pool: NetImages) -> int:
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
                raise loop.Preempted  # nothing is lost: labelling starts again from the same teacher
            yield segmenter.prepare_net(pool[i]["image"])

    answers = [judge(probs, v) for probs, v in zip(segmenter.net_probabilities(inputs(), teacher), valid, strict=True)]
    names = experiment.splits.parts["unlabelled"]
    _write_labels(workdir.labels(stage.name), answers)
    record = {
        "stage": stage.name,
        "labeller": stage.labeller,
        "settings": experiment.labelling if stage.labeller == "threshold" else {},
        "n_pool": len(answers),
        "n_kept": sum(answer.kept for answer in answers),
        "images": [
            {
                "name": name,
                "subject": experiment.dataset.subjects[name],
                "kept": answer.kept,
                "reason": answer.reason,
                "pixels": answer.pixels,
                "confidence": answer.confidence,
            }
            for name, answer in zip(names, answers, strict=True)
        ],
    }
    write_json(workdir.labelling(stage.name), record)


def _write_labels(path: pathlib.Path, answers: list[labellers.PseudoLabel]) -> None:
    path.parent.mkdir(exist_ok=True)
    partial = path.with_suffix(".partial.npz")
    np.savez_compressed(
        partial,
        labels=np.stack([answer.labels for answer in answers]),
        weights=np.stack([answer.weights for answer in answers]).astype(np.uint8),
        kept=np.array([answer.kept for answer in answers]),
    )
    os.replace(partial, path)


def _latest_labels(experiment: Experiment, workdir: Workdir, index: int) -> PseudoLabels | None:
    """The pool's labels as of stage `index`: those of the last stage up to it that has a labeller."""
    named = [stage.name for stage in experiment.stages[: index + 1] if stage.labeller]
    if not named:
        return None
    with np.load(workdir.labels(named[-1])) as arrays:
        return PseudoLabels(arrays["labels"], arrays["weights"].astype(np.float32), arrays["kept"])


def _labelling_line(workdir: Workdir, stage: Stage) -> str:
    record = json.loads(workdir.labelling(stage.name).read_text())
    line = f"{stage.name}: the teacher labelled {record['n_pool']} images, {record['n_kept']} kept"
    return line if record["n_kept"] else line + ": this stage goes on with the labelled images alone"


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes JSON, whole or not at all."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")
    os.replace(partial, path)
