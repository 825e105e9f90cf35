"""Builds dataset, splits, model and stages from a config."""

import dataclasses
import pathlib
from typing import Any

import jax
import numpy as np
from clu import parameter_overview

from fetal_jax import pretrained
from fetal_jax.core import settings
from fetal_jax.core import sharding as meshes
from fetal_jax.core.types import DatasetFacts, TrainState, UserError, Variables
from fetal_jax.inference.predictor import AUTO
from fetal_jax.inference.segmenter import InferenceConfig, Segmenter
from fetal_jax.inference.tta import tta_transforms
from fetal_jax.models import MODELS, build_model, options_of
from fetal_jax.training import pseudo_labels as labellers
from fetal_jax.training import stages
from fetal_jax.training.optimizers import make_optimizer
from fetal_jax.training.settings import ClassWeightSettings, RunSettings, SamplingSettings
from fetal_jax.training.stages import Stage
from fetal_jax.training.state import FIRST, create_state, create_variables
from fetal_jax.training.step import TrainStep, compile_train_step, make_train_step
from input_pipeline import builders
from input_pipeline.data_spec import DataSpec, ImageSpec, StreamRequest, VolumeSpec
from input_pipeline.dataset import Dataset, NetImages, select
from input_pipeline.patch_stream import PatchStream, Volumes
from input_pipeline.sampling import class_weights, oversampled
from input_pipeline.split_assignment import make_splits
from input_pipeline.streams import PseudoLabels, Stream

CLASS_WEIGHTS = ("none", "inverse_frequency")
FEW_STEPS = 100


class Experiment:
    """A checked config and what it describes: data, splits, network, protocol. Nothing is written here."""

    def __init__(self, values: dict[str, Any], data_dir: pathlib.Path):
        """Reads every setting. Raises UserError naming the key that is wrong, missing, or unknown."""
        self.settings = s = settings.from_dict(RunSettings, values)
        self._check_numbers()
        options = dict(s.model)
        if "name" not in options:
            raise UserError(f"config key 'model.name' is missing: choose one of {', '.join(MODELS)}")
        self.pretrained = options.pop("pretrained", "")
        facts = builders.facts(s.dataset, data_dir)
        self.data = _data_spec(s, facts.dims)  # before the structures, which a config for others misnames
        facts, _ = select(facts, s.structures)
        self.stages = stages.make_stages(s)
        self._check_names(facts.dims)
        n_classes = len(facts.classes)
        compute = {"precision": s.precision, "remat": s.remat}
        self.model_settings = {"num_classes": 1 if n_classes == 2 else n_classes} | options | compute
        self.model = build_model(**self.model_settings)
        self._check_pretrained()
        self.dataset = Dataset(s.dataset, data_dir, s.structures)
        self.facts = self.dataset.facts
        self.splits = make_splits(self.dataset.split_items(), s.split, self.dataset.version)
        self.draws = self._draws(s.sampling)
        pixels = self.dataset.class_pixels(self.splits.parts["labelled"]).sum(0)
        self.class_weights = _class_weights(pixels, s.class_weights)
        self.warnings = [*self.dataset.notes, *_unseen_classes(pixels, self.facts), *self._short_stages()]
        self._check_unlabelled()
        self.mesh = meshes.make_mesh()
        meshes.check_precision(self.mesh.devices.flat[0], s.precision)

    def _check_numbers(self) -> None:
        s = self.settings
        numbers = {
            "split.test": s.split.folds or s.split.test,
            "size": s.size,
            "batch_size": s.batch_size,
            "validate_every": s.validate_every,
            "log_every": s.log_every,
            "evaluation.batch_size": s.evaluation.batch_size,
        }
        for key, value in numbers.items():
            if value < 1:
                raise UserError(f"{key} is {value}: it must be at least 1")
        blur = s.evaluation.blur
        if blur != 0 and (blur < 3 or blur % 2 == 0):
            raise UserError(f"evaluation.blur is {blur}: it must be 0 for none, or odd and at least 3")
        if not 0 <= s.unlabelled_per_batch < s.batch_size:
            raise UserError(
                f"unlabelled_per_batch is {s.unlabelled_per_batch}: it must be at least 0 and less than "
                f"batch_size, {s.batch_size}"
            )

    def _check_names(self, dims: int) -> None:
        """Raises UserError where a setting names something that does not exist."""
        s = self.settings
        augmentations = {f"stages.{stage.name}.augment": stage.augment for stage in s.stages}
        augmentations |= {f"stages.{stage.name}.strong": stage.strong for stage in s.stages}
        only_images = {
            "evaluation.blur": s.evaluation.blur,
            "intensity": s.intensity,
            "sampling.structures": s.sampling.structures,
        }
        self.data.check(augmentations, only_images)
        if s.evaluation.tta != AUTO:
            tta_transforms(s.evaluation.tta, dims)
        for stage in self.stages:
            make_optimizer(stage.optimizer, stage.frozen)
            if stage.pseudo_labeller:
                labellers.make_pseudo_labeller(stage.pseudo_labeller, dataclasses.asdict(s.pseudo_labels))

    def _check_pretrained(self) -> None:
        if not self.pretrained:
            return
        if "encoder" not in self.model_settings:
            named = [name for name in MODELS if "encoder" in options_of(name)]
            raise UserError(
                f"model.pretrained needs a network that has an encoder of its own name: set model.name to one of "
                f"{', '.join(named)}, or leave model.pretrained empty"
            )
        if self.settings.intensity != "unit":
            raise UserError(
                f"intensity is {self.settings.intensity!r}: pretrained encoders take images in [0, 1], set 'unit', "
                "or model.pretrained= for random weights"
            )

    def read_pretrained(self) -> pretrained.PretrainedEncoder | None:
        """The weights that the encoder starts from; None: random ones. Raises UserError if they do not fit."""
        if not self.pretrained:
            return None
        return pretrained.load(self.pretrained, self.model_settings["encoder"], self.facts.channels)

    def _check_unlabelled(self) -> None:
        for stage in self.stages:
            drawn = self.splits.parts["unlabelled"] and self.settings.unlabelled_per_batch
            if stage.method.unlabelled and not drawn:
                raise UserError(
                    f"stages.{stage.name} trains on unlabelled images but there are none to draw: raise "
                    "split.unlabelled and unlabelled_per_batch, or take a supervised method"
                )

    def check_devices(self) -> None:
        """Raises UserError where a batch of training cannot be split evenly over the devices."""
        s = self.settings
        batches = {"batch_size": s.batch_size, "unlabelled_per_batch": s.unlabelled_per_batch}
        meshes.check_divisible(self.mesh, **batches, **{"evaluation.batch_size": s.evaluation.batch_size})

    def _draws(self, sampling: SamplingSettings) -> tuple[int, ...] | None:
        """The labelled images of a pass, those that show one of the structures `factor` times; None: each once."""
        if not sampling.structures:
            return None
        shows = [self.dataset.shows[name] for name in self.splits.parts["labelled"]]
        return tuple(oversampled(shows, sampling.structures, sampling.factor))

    def _short_stages(self) -> list[str]:
        """Stages that train the whole network for so few steps that it can hardly learn."""
        warnings = []
        for stage in self.stages:
            drawn = self.data.items_per_epoch(sum(len(self.splits.parts[part]) for part in stage.data))
            steps = stage.epochs * max(1, drawn // self.settings.batch_size)
            if steps < FEW_STEPS and not stage.frozen:
                remedy = f"raise stages.{stage.name}.epochs"
                warnings.append(f"Stage {stage.name} takes {steps} steps at most, few to learn from: {remedy}.")
        return warnings

    def make_optimizer(self, stage: Stage):
        """The optimizer of a stage, as a function of its hyper-parameters."""
        return make_optimizer(stage.optimizer, stage.frozen)

    def compile_step(self, stage: Stage) -> TrainStep:
        """The compiled training step of a stage."""
        step = make_train_step(
            stage.method,
            dict.fromkeys(stage.method.networks, self.model),
            self.make_optimizer(stage),
            objective=stage.objective,
            frozen=stage.frozen,
            class_weights=self.class_weights,
        )
        return compile_train_step(step, self.mesh)

    def stream(
        self,
        stage: Stage,
        index: int,
        labelled: Any,
        unlabelled: Any,
        pseudo: PseudoLabels | None,
    ) -> Stream | PatchStream:
        """What a stage draws from; `index` is its place in the protocol, the items are those of `source`."""
        request = StreamRequest(
            pseudo=pseudo if stage.method.pseudo_labels else None,
            unlabelled=stage.method.unlabelled,
            batch_size=self.settings.batch_size,
            n_unlabelled=self.settings.unlabelled_per_batch,
            augment=stage.augment,
            strong=stage.strong,
            views=stage.method.views,
            seed=1000 * self.settings.seed + index,
            draws=self.draws,
        )
        return self.data.stream(labelled, unlabelled, request)

    def initial_state(self) -> TrainState:
        """The state that a run starts from: random, but for an encoder that others have trained."""
        return create_state(self.create_variables(FIRST))

    def create_variables(self, name: str) -> Variables:
        """New variables for the network of that name; each name has random numbers of its own."""
        # They are made once, hundreds of small arrays: optimising that takes longer than running it.
        create = jax.jit(lambda: self._random_variables(name), compiler_options={"xla_backend_optimization_level": 0})
        variables, loaded = create(), self.read_pretrained()
        return variables if loaded is None else pretrained.apply_pretrained(variables, loaded)

    def abstract_state(self) -> TrainState:
        """The shapes of that state, for a run that has a checkpoint."""
        return jax.eval_shape(lambda: create_state(self._random_variables(FIRST)))

    def describe(self) -> str:
        """The network in a line: its name, and how many parameters it trains."""
        count = parameter_overview.count_parameters(self.abstract_state().networks[FIRST].params)
        return f"{self.model_settings['name']}, {count:,} trained parameters"

    def _random_variables(self, name: str) -> Variables:
        return create_variables(self.model, self.settings.seed, self.data.input_shape(self.facts), name)

    def source(self, part: str) -> NetImages | Volumes:
        """The images of a part at network size, or its volumes as they are."""
        return self.data.source(self.dataset, self.splits.parts[part])

    def inference_config(self, stage: str) -> InferenceConfig:
        """What inference needs beside the weights of a stage's network."""
        s = self.settings
        return InferenceConfig(
            self.model_settings, s.size, s.evaluation.blur, self.facts, self.splits.hash, stage, s.intensity
        )

    def segmenter(self, variables: Variables, stage: str) -> Segmenter:
        """The network with these weights, in native geometry."""
        return Segmenter(self.inference_config(stage), variables, batch_size=self.settings.evaluation.batch_size)


def _data_spec(s: RunSettings, dims: int) -> DataSpec:
    """Raises UserError for volumes without settings of patches, and for images with them."""
    if dims == ImageSpec.dims:
        if s.patches is not None:
            raise UserError(f"dataset {s.dataset} has images and this config draws patches of volumes: take another")
        return ImageSpec(s.size, s.intensity)
    if s.patches is None:
        raise UserError(f"dataset {s.dataset} has volumes and this config is for images: take configs/adu_net.py")
    return VolumeSpec(s.size, s.patches.per_volume, s.patches.foreground)


def _class_weights(pixels: np.ndarray, asked: ClassWeightSettings) -> tuple[float, ...] | None:
    """How much a pixel of each class counts, by how many the labelled part has of each; None: all alike."""
    if asked.rule not in CLASS_WEIGHTS:
        raise UserError(f"class_weights.rule {asked.rule!r} is unknown: choose one of {', '.join(CLASS_WEIGHTS)}")
    return None if asked.rule == "none" else tuple(class_weights(pixels, asked.smoothing).tolist())


def _unseen_classes(pixels: np.ndarray, facts: DatasetFacts) -> list[str]:
    unseen = [name for name, n in zip(facts.classes, pixels, strict=True) if n == 0]
    return [f"No training image shows {name}: the network cannot learn it." for name in unseen]
