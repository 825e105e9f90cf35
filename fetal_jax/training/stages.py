"""Stages as data. A protocol is a list of them; `DECODER → FINE_TUNE → LABEL → RETRAIN → DONE`."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

from fetal_jax.core.types import UserError
from fetal_jax.losses import compose
from fetal_jax.methods import Method, make_method
from fetal_jax.training.schedules import cosine
from fetal_jax.training.settings import OptimizerSettings, RunSettings, StageSettings

DATA = ("labelled", "unlabelled")


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stage of a protocol, checked; nothing of it depends on what the stages before bring.

    Attributes:
      method: what is minimised (fetal_jax.methods).
      data: what the stage draws: "labelled", and maybe "unlabelled" images.
      pseudo_labeller: a name of training.pseudo_labels; the published network labels the unlabelled images before the
        stage is entered. "": nothing does.
      frozen: top-level parameter groups that are not trained.
      augment, strong: augmentations (input_pipeline.augment) of every image, and of the strong views.
      init: the stage whose best network this one starts from; "": what the stage before left.
      loss_weights: how much each term of the objective counts; terms that are not named keep the objective's own.
    """

    name: str
    epochs: int
    learning_rate: float
    method: Method
    data: tuple[str, ...] = ("labelled",)
    pseudo_labeller: str = ""
    frozen: tuple[str, ...] = ()
    augment: str = "none"
    strong: str = "perturb"
    objective: str = "bce_dice"
    loss_weights: Mapping[str, float] = dataclasses.field(default_factory=dict)
    optimizer: str = "adam"
    weight_decay: float = 1e-4
    clip: float = 1.0
    init: str = ""

    def __post_init__(self):
        terms = compose.loss_weights(self.objective)
        numbers = {"learning_rate": self.learning_rate, "weight_decay": self.weight_decay} | {
            f"loss_weights.{term}": weight for term, weight in self.loss_weights.items()
        }
        if self.epochs < 1:
            raise self._error("epochs", self.epochs, "it must be at least 1")
        for key, value in numbers.items():
            if not 0 <= value < math.inf:
                raise self._error(key, value, "it must be 0 or more")
        if not self.clip > 0:
            raise self._error("clip", self.clip, "it must be above 0")
        for term in self.loss_weights:
            if term not in terms:
                raise self._error("loss_weights", repr(term), f"the terms of {self.objective} are {', '.join(terms)}")
        if self.data not in (DATA[:1], DATA):
            raise self._error("data", list(self.data), "choose labelled, or labelled,unlabelled")
        if self.method.unlabelled and "unlabelled" not in self.data:
            raise self._error("data", list(self.data), "this method needs unlabelled images, set labelled,unlabelled")
        if not self.method.unlabelled and "unlabelled" in self.data:
            raise self._error("data", list(self.data), "this method does not use unlabelled images, set labelled")
        if self.method.pseudo_labels and not self.pseudo_labeller:
            raise self._error("pseudo_labeller", "''", "this method needs labels of the unlabelled images, name one")

    def _error(self, key: str, value: object, remedy: str) -> UserError:
        return UserError(f"stages.{self.name}.{key} is {value}: {remedy}")

    @property
    def scheduled(self) -> tuple[str, ...]:
        """The names of the numbers that change during the stage or belong to its method: those that are logged."""
        return ("learning_rate", *self.method.schedules())

    def hyperparameters(self, progress: float) -> dict[str, float]:
        """Every number of a step at `progress` in [0, 1] of the stage. Traced: none of them causes a compilation."""
        weights = {**compose.loss_weights(self.objective), **self.loss_weights}
        return {
            "learning_rate": cosine(self.learning_rate, progress),
            "weight_decay": self.weight_decay,
            "clip": self.clip,
            **{compose.weight_key(term): weight for term, weight in weights.items()},
            **{name: schedule(progress) for name, schedule in self.method.schedules().items()},
        }


def make_stages(settings: RunSettings) -> tuple[Stage, ...]:
    """The protocol of a run. Raises UserError naming the config key that is wrong."""
    stages = tuple(_make_stage(stage, settings.optimizer) for stage in settings.stages)
    check_protocol(stages)
    return stages


def _make_stage(s: StageSettings, optimizer: OptimizerSettings) -> Stage:
    options = {key: value for key, value in s.method.items() if key != "name"}
    if "name" not in s.method:
        raise UserError(f"config key 'stages.{s.name}.method.name' is missing: name a training method")
    return Stage(
        name=s.name,
        epochs=s.epochs,
        learning_rate=s.learning_rate,
        method=make_method(s.method["name"], options, f"stages.{s.name}.method"),
        data=s.data,
        pseudo_labeller=s.pseudo_labeller,
        frozen=s.frozen,
        augment=s.augment,
        strong=s.strong,
        objective=s.objective,
        loss_weights=s.loss_weights,
        optimizer=optimizer.name,
        weight_decay=optimizer.weight_decay,
        clip=optimizer.clip,
        init=s.init,
    )


def check_protocol(stages: Sequence[Stage]) -> None:
    """Raises UserError for a protocol without a stage, a name that is used twice, and an `init` that is not before."""
    if not stages:
        raise UserError("stages is empty: name at least one stage")
    seen: list[str] = []
    for stage in stages:
        if stage.name in seen:
            raise UserError(f"stages has {stage.name!r} twice: give every stage a name of its own")
        if stage.init and stage.init not in seen:
            raise UserError(f"stages.{stage.name}.init is {stage.init!r}: name a stage before it ({', '.join(seen)})")
        seen.append(stage.name)


def describe(stages: Sequence[Stage]) -> str:
    """`DECODER → FINE_TUNE → LABEL → RETRAIN → DONE`."""
    words = [word for stage in stages for word in ((["LABEL"] if stage.pseudo_labeller else []) + [stage.name.upper()])]
    return " → ".join([*words, "DONE"])
