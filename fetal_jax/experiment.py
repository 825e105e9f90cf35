"""From settings to the parts of a run. The one place where all rooms of the house meet."""

import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from clu import parameter_overview

from fetal_jax import config as configs
from fetal_jax import mesh as meshes
from fetal_jax import pretrained, volumes
from fetal_jax.evaluation.reader import AUTO
from fetal_jax.evaluation.segmenter import ModelCard, Segmenter
from fetal_jax.evaluation.tta import looks
from fetal_jax.losses import compose
from fetal_jax.models import MODELS, build_model, options_of
from fetal_jax.training import labellers
from fetal_jax.training.optimizers import make_optimizer
from fetal_jax.training.stages import Stage, make_protocol
from fetal_jax.training.state import TrainState, create_train_state
from fetal_jax.types import DatasetFacts, UserError, Variables
from input_pipeline import augment, builders
from input_pipeline.dataset import Dataset, NetImages, select
from input_pipeline.deal import make_splits
from input_pipeline.patches import Volumes
from input_pipeline.sampling import class_weights, oversampled
from input_pipeline.splits import Request
from input_pipeline.transforms import check_intensity

CLASS_WEIGHTS = ("none", "inverse_frequency")
FEW_STEPS = 100


class Experiment:
    """A checked config and what it describes: data, splits, network, protocol. Nothing is written here."""

    def __init__(self, settings: dict[str, Any], data_dir: pathlib.Path):
        """Reads every setting. Raises UserError naming the key that is wrong, missing, or read by nothing."""
        s = configs.Settings(settings)
        self.seed, self.size, self.batch_size = s.seed, s.size, s.batch_size
        self.unlabelled_per_batch = s.unlabelled_per_batch
        self.validate_every, self.log_every = s.validate_every, s.log_every
        evaluation = s.evaluation
        self.eval_batch_size, self.blur = evaluation.batch_size, evaluation.blur
        self.tta = evaluation.tta or "none"  # False in the configs of older runs
        self.labelling = s.labelling.take("threshold", "minimum_pixels", "uncertain")
        self.optimizer = s.optimizer.take("name", "weight_decay", "clip")
        self.stages = make_protocol(s.protocol, s.stages.to_dict(), s.rounds)
        dataset, structures, model = s.dataset, s.structures, s.model.to_dict()
        compute = {"precision": s.precision, "remat": s.remat}
        self.pretrained = model.pop("pretrained", "")
        request = Request.from_dict(s.split.to_dict())
        sampling = s.sampling.take("structures", "factor")
        weighting = s.class_weights.take("rule", "smoothing")
        self.intensity = s.intensity
        facts = builders.facts(dataset, data_dir)
        volumes.check_kind(dataset, facts.dims, settings)  # before its structures, which a config for others misnames
        facts, _ = select(facts, structures)
        self.patches = volumes.read_patches(s) if facts.dims == 3 else None
        configs.reject_unread(s)
        self._check_numbers(request)
        self._check_names(facts.dims)
        if self.patches:
            asked = {"blur": self.blur, "intensity": self.intensity, "oversampled": sampling["structures"]}
            volumes.check_settings(self.stages, **asked)
        n_classes = len(facts.classes)
        self.model_settings = {"num_classes": 1 if n_classes == 2 else n_classes} | model | compute
        self.model = build_model(**self.model_settings)
        self._check_pretrained()
        self.dataset = Dataset(dataset, data_dir, structures)
        self.facts = self.dataset.facts
        self.splits = make_splits(self.dataset.cases(), request, self.dataset.version)
        self.draws = self._draws(**sampling)
        pixels = self.dataset.class_pixels(self.splits.parts["labelled"]).sum(0)
        self.class_weights = _class_weights(pixels, **weighting)
        self.warnings = [*self.dataset.notes, *_unseen_classes(pixels, self.facts), *self._short_stages()]
        self._check_pool()
        self.mesh = meshes.make_mesh()
        meshes.check_precision(self.mesh.devices.flat[0], compute["precision"])

    def _check_numbers(self, request: Request) -> None:
        numbers = {
            "split.test": request.folds or request.test,
            "size": self.size,
            "batch_size": self.batch_size,
            "validate_every": self.validate_every,
            "log_every": self.log_every,
            "evaluation.batch_size": self.eval_batch_size,
        }
        for key, value in numbers.items():
            if value < 1:
                raise UserError(f"{key} is {value}: it must be at least 1")
        if self.blur != 0 and (self.blur < 3 or self.blur % 2 == 0):
            raise UserError(f"evaluation.blur is {self.blur}: it must be 0 for none, or odd and at least 3")
        if not 0 <= self.unlabelled_per_batch < self.batch_size:
            raise UserError(
                f"unlabelled_per_batch is {self.unlabelled_per_batch}: it must be at least 0 and less than "
                f"batch_size, {self.batch_size}"
            )

    def _check_names(self, dims: int) -> None:
        """Raises UserError where a setting names something that does not exist."""
        check_intensity(self.intensity)
        if self.tta != AUTO:
            looks(self.tta, dims)
        for stage in self.stages:
            compose.supervised(stage.objective)
            self.make_optimizer(stage)
            augment.check(stage.augment)
            if stage.labeller:
                labellers.make_labeller(stage.labeller, self.labelling)

    def _check_pretrained(self) -> None:
        if not self.pretrained:
            return
        if "encoder" not in self.model_settings:
            named = [name for name in MODELS if "encoder" in options_of(name)]
            raise UserError(
                f"model.pretrained needs a network that has an encoder of its own name: set model.name to one of "
                f"{', '.join(named)}, or leave model.pretrained empty"
            )
        if self.intensity != "unit":
            raise UserError(f"intensity is {self.intensity!r}: pretrained encoders take images in [0, 1], set 'unit'")

    def read_pretrained(self) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """The weights that the encoder starts from; None: random ones. Raises UserError if they do not fit."""
        if not self.pretrained:
            return None
        return pretrained.load(self.pretrained, self.model_settings["encoder"], self.facts.channels)

    def _check_pool(self) -> None:
        for stage in self.stages:
            if stage.pool == "both" and not (self.splits.parts["unlabelled"] and self.unlabelled_per_batch):
                raise UserError(
                    f"stages.{stage.name}.pool is 'both' but there are no unlabelled images to draw: raise "
                    "split.unlabelled and unlabelled_per_batch, or set the pool to labelled"
                )

    def check_devices(self) -> None:
        """Raises UserError where a batch of training cannot be dealt evenly to the devices."""
        batches = {"batch_size": self.batch_size, "unlabelled_per_batch": self.unlabelled_per_batch}
        meshes.check_divisible(self.mesh, **batches, **{"evaluation.batch_size": self.eval_batch_size})

    def _draws(self, structures: Sequence[str], factor: int) -> tuple[int, ...] | None:
        """The labelled images of a pass, those that show one of the structures `factor` times; None: each once."""
        if not structures:
            return None
        shows = [self.dataset.shows[name] for name in self.splits.parts["labelled"]]
        return tuple(oversampled(shows, tuple(structures), factor))

    def _short_stages(self) -> list[str]:
        """Stages that train the whole network for so few steps that it can hardly learn."""
        warnings = []
        for stage in self.stages:
            parts = ("labelled", "unlabelled") if stage.pool == "both" else ("labelled",)
            images = sum(len(self.splits.parts[part]) for part in parts)
            drawn = images * (self.patches["per_volume"] if self.patches else 1)
            steps = stage.epochs * max(1, drawn // self.batch_size)
            if steps < FEW_STEPS and not stage.frozen:
                remedy = f"raise stages.{stage.name}.epochs"
                warnings.append(f"Stage {stage.name} takes {steps} steps at most, few to learn from: {remedy}.")
        return warnings

    def make_optimizer(self, stage: Stage):
        return make_optimizer(**self.optimizer, frozen=stage.frozen)

    def initial_state(self) -> TrainState:
        """The state that a run starts from: random, but for an encoder that others have trained."""
        # It is made once, of hundreds of small arrays: optimising that takes longer than running it.
        state = jax.jit(self._create_state, compiler_options={"xla_backend_optimization_level": 0})()
        loaded = self.read_pretrained()
        if loaded is None:
            return state
        student = pretrained.apply_pretrained(state.student, loaded)
        return state.replace(params=student.params, batch_stats=student.batch_stats)

    def describe(self) -> str:
        """The network in a line: its name, and how many parameters it trains."""
        count = parameter_overview.count_parameters(self.abstract_state().params)
        return f"{self.model_settings['name']}, {count:,} trained parameters"

    def abstract_state(self) -> TrainState:
        """The shapes of that state, for a run that has a checkpoint."""
        return jax.eval_shape(self._create_state)

    def _create_state(self) -> TrainState:
        return create_train_state(self.model, self.seed, (*(self.size,) * self.facts.dims, self.facts.channels))

    def images(self, part: str) -> NetImages | Volumes:
        """The images of a part at network size, or its volumes as they are."""
        if self.patches:
            return Volumes(self.dataset, self.splits.parts[part])
        return NetImages(self.dataset, self.splits.parts[part], self.size)

    def card(self, stage: str) -> ModelCard:
        return ModelCard(self.model_settings, self.size, self.blur, self.facts, self.splits.hash, stage, self.intensity)

    def segmenter(self, variables: Variables, stage: str) -> Segmenter:
        """The network with these weights, in native geometry."""
        return Segmenter(self.card(stage), variables, batch_size=self.eval_batch_size)


def _class_weights(pixels: np.ndarray, rule: str, smoothing: float) -> tuple[float, ...] | None:
    """How much a pixel of each class counts, by how many the labelled part has of each; None: all alike."""
    if rule not in CLASS_WEIGHTS:
        raise UserError(f"class_weights.rule {rule!r} is unknown: choose one of {', '.join(CLASS_WEIGHTS)}")
    return None if rule == "none" else tuple(class_weights(pixels, smoothing).tolist())


def _unseen_classes(pixels: np.ndarray, facts: DatasetFacts) -> list[str]:
    unseen = [name for name, n in zip(facts.classes, pixels, strict=True) if n == 0]
    return [f"No training image shows {name}: the network cannot learn it." for name in unseen]
