"""What the training loop is given and what it remembers: data, evaluators and labelling come as functions."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import jax

from fetal_jax.core import rng as rngs
from fetal_jax.core.types import TrainState, Variables
from fetal_jax.training.checkpoints import Checkpoints
from fetal_jax.training.metric_writer import Progress, RunWriter, SilentWriter
from fetal_jax.training.stages import Stage
from fetal_jax.training.state import enter_stage
from fetal_jax.training.step import TrainStep


@runtime_checkable
class Data(Protocol):
    """What a stage draws from: see input_pipeline.streams.Stream."""

    @property
    def steps_per_epoch(self) -> int: ...

    def iterator(self, steps: int, shard: tuple[int, int]) -> Any: ...


@dataclasses.dataclass(frozen=True)
class RunProgress:
    """Where in its protocol a run is, and what it remembers; JSON in every checkpoint."""

    stage: int = 0
    step: int = 0  # of this stage
    data: dict[str, Any] = dataclasses.field(default_factory=dict)  # state of the stage's iterator
    best: float | None = None  # validation Dice of the best network of this stage
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)  # spent, by stage
    protocol: str = ""  # the stages in words

    def spent(self, stage: str, seconds: float) -> "RunProgress":
        return dataclasses.replace(self, seconds=self.seconds | {stage: self.seconds.get(stage, 0.0) + seconds})


@dataclasses.dataclass(frozen=True)
class LoopComponents:
    """Everything that the loop is given.

    Attributes:
      stages: the protocol.
      resolve: the stage of an index as it will be run (after pseudo-labelling, if it has a pseudo-labeller) and its
        data. Called before the stage is entered with the published network of the stage before, and with None when a
        killed run comes back in the middle of the stage.
      make_optimizer: of a stage; see training.optimizers.
      compile_step: the compiled step of a stage; see training.step.
      create: new variables for the network of a name.
      kept: the best network of a finished stage, by its name.
      validate: scores of a network on the validation images; empty if there are none. Raises FloatingPointError where
        its output is not a number.
      finish: called at the end of every stage with a function that reads its best network; again after a kill there.
      stop: whether this process was asked to stop.
    """

    stages: tuple[Stage, ...]
    resolve: Callable[[int, Variables | None], tuple[Stage, Data]]
    make_optimizer: Callable[[Stage], Any]
    compile_step: Callable[[Stage], TrainStep]
    create: Callable[[str], Variables]
    kept: Callable[[str], Variables]
    validate: Callable[[Variables], Mapping[str, float]]
    finish: Callable[[Stage, Callable[[], Variables]], None]
    stop: Callable[[], bool]
    checkpoints: Checkpoints
    writer: RunWriter | SilentWriter
    progress: Progress
    mesh: jax.sharding.Mesh
    seed: int
    validate_every: int  # epochs
    log_every: int  # steps

    def published(self, state: TrainState, index: int) -> Variables:
        """The network that stands for the state after stage `index`; before the first, the one that it began with."""
        return self.stages[index].method.published(state) if index >= 0 else next(iter(state.networks.values()))

    def enter(self, state: TrainState, index: int, stage: Stage) -> TrainState:
        """The state with which `stage`, which is stage `index` as it will be run, begins."""
        before = self.stages[index - 1].method if index else None
        key = rngs.named_key(jax.random.key(self.seed), stage.name)
        start = self.kept(stage.init) if stage.init else None
        return enter_stage(state, before, stage.method, self.make_optimizer(stage), self.create, key, start)
