"""The settings of a run, typed and documented: what a config has to say."""

import dataclasses
from typing import Any

from fetal_jax.core.settings import setting
from input_pipeline.splits import Request


@dataclasses.dataclass(frozen=True)
class SamplingSettings:
    """Oversampling of rare structures."""

    structures: tuple[str, ...] = setting("images that show one of them are drawn more often")
    factor: int = setting("how many times as often")


@dataclasses.dataclass(frozen=True)
class ClassWeightSettings:
    """How much a pixel of each class counts in the objective."""

    rule: str = setting("none, or inverse_frequency of the labelled pixels")
    smoothing: float = setting("added to each frequency")


@dataclasses.dataclass(frozen=True)
class OptimizerSettings:
    """The optimizer of all stages."""

    name: str = setting("adam or sgd")
    weight_decay: float = setting("decoupled decay of the kernels, for each unit of learning rate")
    clip: float = setting("largest global norm of the gradient")


@dataclasses.dataclass(frozen=True)
class PseudoLabelSettings:
    """Which of a network's answers become labels."""

    threshold: float = setting("probability above which a pixel is labelled")
    minimum_pixels: int = setting("images with fewer foreground pixels are dropped")
    uncertain: str = setting("what a pixel below the threshold is: ignore or background")


@dataclasses.dataclass(frozen=True)
class EvaluationSettings:
    """How networks are validated and tested."""

    batch_size: int = setting("images predicted at a time")
    blur: int = setting("median kernel on the input, 0 for none")
    tta: str = setting("test-time augmentation: none, a name, or auto")


@dataclasses.dataclass(frozen=True)
class PatchSettings:
    """How patches of volumes are drawn."""

    per_volume: int = setting("patches of each volume in an epoch")
    foreground: float = setting("share of the patches whose centre is a voxel of the foreground")


@dataclasses.dataclass(frozen=True)
class StageSettings:
    """One stage; see training.stages.Stage."""

    name: str = setting("of the stage, once in a protocol")
    epochs: int = setting("passes over the images that the stage draws")
    learning_rate: float = setting("peak of the schedule")
    method: dict[str, Any] = setting("name of a training method and its options")
    data: tuple[str, ...] = setting("what is drawn: labelled, or labelled and unlabelled")
    pseudo_labeller: str = setting("labels the unlabelled images before the stage: threshold, naive or none ('')")
    frozen: tuple[str, ...] = setting("parameter groups that are not trained: encoder, decoder")
    augment: str = setting("augmentation of the images")
    strong: str = setting("augmentation that makes the strong views of unlabelled images")
    objective: str = setting("supervised loss")
    loss_weights: dict[str, float] = setting("how much each term of the objective counts, where not as published")
    init: str = setting("the stage whose best network it starts from; '': what the stage before left")


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """All settings of a run."""

    seed: int = setting("of everything random: weights, order, augmentation, dropout")
    dataset: str = setting("a prepared dataset: NAME, NAME/config or NAME:key=value")
    structures: tuple[str, ...] = setting("classes to segment; none named: all of the dataset")
    split: Request = setting("which images are trained on, validated and tested")
    sampling: SamplingSettings = setting("oversampling of rare structures")
    class_weights: ClassWeightSettings = setting("how much a pixel of each class counts")
    size: int = setting("side of the network's square input, or of a cubic patch")
    intensity: str = setting("range of the network's input: unit, [0, 1], or symmetric, [-1, 1]")
    batch_size: int = setting("images of a training step")
    unlabelled_per_batch: int = setting("how many of them are unlabelled, in stages that draw such images")
    model: dict[str, Any] = setting("name of a network and its options; pretrained: weights of its encoder")
    precision: str = setting("of the computation: float32 or bfloat16; parameters are always float32")
    remat: bool = setting("less memory in training for about a third more arithmetic")
    optimizer: OptimizerSettings = setting("the optimizer of all stages")
    pseudo_labels: PseudoLabelSettings = setting("which answers of a network become labels")
    evaluation: EvaluationSettings = setting("how networks are validated and tested")
    validate_every: int = setting("epochs between two validations")
    log_every: int = setting("steps between two lines of metrics.jsonl")
    stages: tuple[StageSettings, ...] = setting("the protocol: stages in their order")
    patches: PatchSettings | None = setting("how patches of volumes are drawn; none for images")
