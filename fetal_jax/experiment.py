"""From settings to the parts of a run. The one place where all rooms of the house meet."""

import pathlib
from typing import Any

import jax

from fetal_jax import config as configs
from fetal_jax import mesh as meshes
from fetal_jax.evaluation.segmenter import ModelCard, Segmenter
from fetal_jax.losses import compose
from fetal_jax.models import build_model
from fetal_jax.training import labellers
from fetal_jax.training.optimizers import make_optimizer
from fetal_jax.training.stages import Stage, make_protocol
from fetal_jax.training.state import TrainState, create_train_state
from fetal_jax.types import UserError, Variables
from input_pipeline import augment
from input_pipeline.dataset import Dataset, NetImages
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
        """The random state that a run starts from."""
        # It is made once, of hundreds of small arrays: optimising that takes longer than running it.
        return jax.jit(self._create_state, compiler_options={"xla_backend_optimization_level": 0})()

    def abstract_state(self) -> TrainState:
        """The shapes of that state, for a run that has a checkpoint."""
        return jax.eval_shape(self._create_state)

    def _create_state(self) -> TrainState:
        return create_train_state(self.model, self.seed, (self.size, self.size, self.facts.channels))

    def images(self, part: str) -> NetImages:
        """The images of a part at network size."""
        return NetImages(self.dataset, self.splits.parts[part], self.size)

    def card(self, stage: str) -> ModelCard:
        return ModelCard(self.model_settings, self.size, self.blur, self.facts, self.splits.hash, stage)

    def segmenter(self, variables: Variables, stage: str) -> Segmenter:
        """The network with these weights, in native geometry."""
        return Segmenter(self.card(stage), variables, batch_size=self.eval_batch_size)
