"""The loop: walks a protocol, stage by stage, step by step, and can be killed anywhere.

It knows no method, no dataset and no metric. Those come as functions in `Parts`.
"""

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any, Protocol

import jax

from fetal_jax import mesh as meshes
from fetal_jax import rngs
from fetal_jax.checkpoint import Checkpoints
from fetal_jax.losses.consistency import ramp_up
from fetal_jax.training.optimizers import cosine
from fetal_jax.training.stages import Stage, enter_stage
from fetal_jax.training.state import TrainState
from fetal_jax.training.steps import Rates, compile_train_step, make_train_step
from fetal_jax.types import Preempted, UserError, Variables
from fetal_jax.writers import Progress, RunWriter


class Diverged(UserError):
    """The loss is not a number any more."""


def diverged(what: str, stage: Stage) -> Diverged:
    """The error for a run that cannot be saved by going on."""
    return Diverged(
        f"{what}, in stage {stage.name}: lower stages.{stage.name}.learning_rate, in a new --workdir; "
        "the checkpoint of the last good epoch is kept"
    )


class Data(Protocol):
    """What a stage draws from: see input_pipeline.pipeline.Stream."""

    steps_per_epoch: int

    def iterator(self, steps: int, shard: tuple[int, int]) -> Any: ...


@dataclasses.dataclass(frozen=True)
class Position:
    """Where in its protocol a run is, and what it remembers; JSON in every checkpoint."""

    stage: int = 0
    step: int = 0  # of this stage
    data: dict[str, Any] = dataclasses.field(default_factory=dict)  # state of the stage's iterator
    best: float | None = None  # validation Dice of the best network of this stage
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)  # spent, by stage

    def spent(self, stage: str, seconds: float) -> "Position":
        return dataclasses.replace(self, seconds=self.seconds | {stage: self.seconds.get(stage, 0.0) + seconds})


@dataclasses.dataclass(frozen=True)
class Parts:
    """Everything the loop is given.

    Attributes:
      class_weights: how much a pixel of each class counts in the objective, background first; None: all alike.
      make_optimizer: update directions of a stage.
      prepare: on entering a stage, with the teacher: the stage as it will be run (after labelling, if it has a
        labeller) and its data. `fresh` is False when a killed run comes back in the middle of the stage.
      validate: scores of a network on the validation images; empty if there are none. Raises FloatingPointError where
        its output is not a number.
      finish: called at the end of every stage with a function that reads its best network; again after a kill there.
      stop: whether the run was asked to stop.
    """

    model: Any
    stages: tuple[Stage, ...]
    class_weights: tuple[float, ...] | None
    make_optimizer: Callable[[Stage], Any]
    prepare: Callable[[int, TrainState, bool], tuple[Stage, Data]]
    validate: Callable[[Variables], dict[str, float]]
    finish: Callable[[Stage, Callable[[], Variables]], None]
    stop: Callable[[], bool]
    checkpoints: Checkpoints
    writer: RunWriter
    progress: Progress
    mesh: jax.sharding.Mesh
    seed: int
    validate_every: int  # epochs
    log_every: int  # steps


def run_protocol(parts: Parts, state: TrainState) -> Position:
    """Runs the protocol from where the workdir's checkpoint left it, or from `state`, to its end."""
    state, position = resume(parts, state)
    while position.stage < len(parts.stages):
        state, position = _run_stage(parts, state, position)
    return position


def resume(parts: Parts, state: TrainState) -> tuple[TrainState, Position]:
    """The state and position of the latest checkpoint, for which `state` may be shapes; else `state`."""
    found = parts.checkpoints.latest_progress()
    if found is None:
        return meshes.replicate(state, parts.mesh), Position()
    position = Position(**found)
    entered = parts.stages[: position.stage + 1]

    def enter_all(state):
        for stage in entered:
            state = enter_stage(state, stage, parts.make_optimizer(stage))
        return state

    shapes = jax.eval_shape(enter_all, state)
    whole = meshes.copied_to(parts.mesh)
    template = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=whole), shapes)
    return parts.checkpoints.restore_latest(template), position


def _run_stage(parts: Parts, state: TrainState, position: Position) -> tuple[TrainState, Position]:
    """Enters, or comes back to, the stage of `position` and trains it to its end."""
    stage, optimizer = parts.stages[position.stage], parts.make_optimizer(parts.stages[position.stage])
    fresh = position.step == 0
    if fresh:
        state = meshes.replicate(enter_stage(state, stage, optimizer), parts.mesh)
        parts.writer.scalars(int(state.step), "stage", {}, stage=stage.name, event="begin")
    stage, data = parts.prepare(position.stage, state, fresh)
    step_fn = compile_train_step(
        make_train_step(parts.model, optimizer, stage.objective, stage.frozen, parts.class_weights), parts.mesh
    )
    per_epoch, total = data.steps_per_epoch, data.steps_per_epoch * stage.epochs
    iterator = data.iterator(total, (jax.process_index(), jax.process_count()))
    if not fresh:
        iterator.set_state(position.data)
    monitor = Monitor(parts, stage, per_epoch, int(state.step) - position.step)
    key = rngs.named_key(jax.random.key(parts.seed), stage.name)

    def advance(state: TrainState, step: int) -> TrainState:
        rates = _rates(stage, step / total)
        state, metrics = step_fn(state, meshes.shard(next(iterator), parts.mesh), rates, key)
        monitor.see(step, metrics, rates)
        return state

    while position.step < total:
        began, end = time.monotonic(), (position.step // per_epoch + 1) * per_epoch
        state, step = _steps(advance, parts.stop, state, range(position.step, end))
        monitor.flush()
        position = dataclasses.replace(position, step=step, data=iterator.get_state())
        if step == end and (step == total or (end // per_epoch) % parts.validate_every == 0):
            position = _validate(parts, stage, state, position, end // per_epoch)
        position = position.spent(stage.name, time.monotonic() - began)
        parts.checkpoints.save_latest(int(state.step), state, dataclasses.asdict(position))
        if parts.stop():
            raise Preempted
    seconds = {"seconds": position.seconds[stage.name]}
    parts.writer.scalars(int(state.step), "stage", seconds, stage=stage.name, event="end")
    parts.finish(stage, lambda: parts.checkpoints.restore_best(state.student))
    return state, Position(stage=position.stage + 1, seconds=position.seconds)


def _steps(
    advance: Callable[[TrainState, int], TrainState], stop: Callable[[], bool], state: TrainState, steps: range
) -> tuple[TrainState, int]:
    """Takes the steps, fewer if the run is asked to stop; the state and the number of the next step."""
    for step in steps:
        state = advance(state, step)
        if stop():
            break
    return state, step + 1


def _rates(stage: Stage, progress: float) -> Rates:
    return Rates(learning_rate=cosine(stage.learning_rate, progress), consistency=stage.consistency * ramp_up(progress))


def _validate(parts: Parts, stage: Stage, state: TrainState, position: Position, epoch: int) -> Position:
    """Keeps the student if it is the best of its stage; the last one where there is no validation Dice."""
    try:
        scores = parts.validate(state.student)
    except FloatingPointError:
        raise diverged(f"the network's output is not a number after step {int(state.step)}", stage) from None
    if scores:
        parts.writer.scalars(int(state.step), "validation", scores, stage=stage.name, epoch=epoch)
        words = ", ".join(f"{name} {value:.4f}" for name, value in scores.items() if name == "dice")
        parts.progress.message(f"{stage.name} epoch {epoch}/{stage.epochs}: validation {words or 'undefined'}")
    score = scores.get("dice")
    if score is not None and position.best is not None and not score > position.best:
        return position
    parts.checkpoints.save_best(int(state.step), state.student, {"stage": stage.name, **scores})
    return dataclasses.replace(position, best=score)


class Monitor:
    """Reads metrics one step late, so that the device never waits for the host; stops a run that diverges."""

    def __init__(self, parts: Parts, stage: Stage, per_epoch: int, steps_before: int):
        self.stage, self.per_epoch = stage, per_epoch
        self._parts, self._steps_before = parts, steps_before
        self._pending: tuple | None = None

    def see(self, step: int, metrics: dict[str, jax.Array], rates: Rates) -> None:
        """Takes the metrics of a step that may still be running, and reports the step before."""
        self.flush()
        self._pending = step, metrics, rates

    def flush(self) -> None:
        """Reports the pending step. Raises Diverged if its loss is not finite."""
        if self._pending is None:
            return
        (step, metrics, rates), self._pending = self._pending, None
        values = {name: float(value) for name, value in metrics.items()}
        global_step = self._steps_before + step + 1
        for name in ("loss", "update_norm"):
            if not math.isfinite(values[name]):
                raise diverged(f"the {name.replace('_', ' ')} is {values[name]} at step {global_step}", self.stage)
        if step % self._parts.log_every == 0:
            values |= {"learning_rate": rates.learning_rate, "consistency_weight": rates.consistency}
            where = {"stage": self.stage.name, "epoch": step // self.per_epoch + 1}
            self._parts.writer.scalars(global_step, "train", values, **where)
        self._parts.progress.update(global_step, stage=self.stage.name, loss=values["loss"])
