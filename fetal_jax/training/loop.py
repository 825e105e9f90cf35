"""The training loop: runs a protocol, stage by stage, step by step, and can be killed anywhere.

It knows no method, no dataset and no metric. Those come as functions in `LoopComponents`.
"""

import dataclasses
import time
from collections.abc import Callable

import jax

from fetal_jax.core import processes
from fetal_jax.core import rng as rngs
from fetal_jax.core import sharding as meshes
from fetal_jax.core.types import Preempted, TrainState
from fetal_jax.training.components import LoopComponents, RunProgress
from fetal_jax.training.monitor import Monitor, diverged
from fetal_jax.training.stages import Stage, describe


def run_protocol(parts: LoopComponents, state: TrainState) -> RunProgress:
    """Runs the protocol from where the workdir's checkpoint left it, or from `state`, to its end."""
    state, at = resume(parts, state)
    while at.stage < len(parts.stages):
        state, at = _run_stage(parts, state, at)
    return at


def resume(parts: LoopComponents, state: TrainState) -> tuple[TrainState, RunProgress]:
    """The state and progress of the latest checkpoint, for which `state` may be shapes; else `state`."""
    found = parts.checkpoints.latest_progress()
    if found is None:
        return meshes.replicate(state, parts.mesh), RunProgress(protocol=describe(parts.stages))
    at = RunProgress(**found)

    def enter_all(state: TrainState) -> TrainState:
        for index, stage in enumerate(parts.stages[: at.stage + 1]):
            state = parts.enter(state, index, stage)
        return state

    shapes = jax.eval_shape(enter_all, state)
    whole = meshes.copied_to(parts.mesh)
    template = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=whole), shapes)
    return parts.checkpoints.restore_latest(template), at


def _run_stage(parts: LoopComponents, state: TrainState, at: RunProgress) -> tuple[TrainState, RunProgress]:
    """Enters, or comes back to, the stage of `at` and trains it to its end."""
    fresh = at.step == 0
    stage, data = parts.resolve(at.stage, parts.published(state, at.stage - 1) if fresh else None)
    if fresh:
        state = meshes.replicate(parts.enter(state, at.stage, stage), parts.mesh)
        parts.writer.scalars(int(state.step), "stage", {}, stage=stage.name, event="begin")
    step_fn = parts.compile_step(stage)
    per_epoch, total = data.steps_per_epoch, data.steps_per_epoch * stage.epochs
    iterator = data.iterator(total, (jax.process_index(), jax.process_count()))
    if not fresh:
        iterator.set_state(at.data)
    steps_before = int(state.step) - at.step
    monitor = Monitor(parts, stage, per_epoch=per_epoch, steps_before=steps_before)
    key = rngs.named_key(jax.random.key(parts.seed), stage.name)

    def advance(state: TrainState, step: int) -> TrainState:
        hp = stage.hyperparameters(step / total)
        state, metrics = step_fn(state, meshes.shard(next(iterator), parts.mesh), hp, key)
        monitor.see(step, metrics, hp)
        return state

    while at.step < total:
        began, end = time.monotonic(), (at.step // per_epoch + 1) * per_epoch
        state, step, stopped = _steps(advance, parts.stop, state, range(at.step, end))
        monitor.flush()
        at = dataclasses.replace(at, step=step, data=iterator.get_state())
        if step == end and (step == total or (end // per_epoch) % parts.validate_every == 0):
            at = _validate(parts, stage, state, at, end // per_epoch)
        at = at.spent(stage.name, time.monotonic() - began)
        parts.checkpoints.save_latest(int(state.step), state, dataclasses.asdict(at))
        if stopped or processes.agree(parts.stop()):
            raise Preempted
    parts.writer.scalars(int(state.step), "stage", {"seconds": at.seconds[stage.name]}, stage=stage.name, event="end")
    parts.finish(stage, lambda: parts.checkpoints.restore_best(stage.method.published(state)))
    return state, RunProgress(stage=at.stage + 1, seconds=at.seconds, protocol=at.protocol)


def _steps(
    advance: Callable[[TrainState, int], TrainState], stop: Callable[[], bool], state: TrainState, steps: range
) -> tuple[TrainState, int, bool]:
    """Takes the steps, fewer if the run is asked to stop: the state, the number of the next step, and whether it was.

    A signal reaches one process only: all of them agree on a stop, so that all save the same step.
    """
    for step in steps:
        state = advance(state, step)
        if processes.agree_at(step, stop):
            return state, step + 1, True
    return state, step + 1, False


def _validate(parts: LoopComponents, stage: Stage, state: TrainState, at: RunProgress, epoch: int) -> RunProgress:
    """Keeps the published network if it is the best of its stage; the last one where there is no validation Dice."""
    variables = stage.method.published(state)
    try:
        scores = parts.validate(variables)
    except FloatingPointError:
        raise diverged(f"the network's output is not a number after step {int(state.step)}", stage) from None
    if scores:
        parts.writer.scalars(int(state.step), "validation", scores, stage=stage.name, epoch=epoch)
        words = ", ".join(f"{name} {value:.4f}" for name, value in scores.items() if name == "dice")
        parts.progress.message(f"{stage.name} epoch {epoch}/{stage.epochs}: validation {words or 'undefined'}")
    score = scores.get("dice")
    if score is not None and at.best is not None and not score > at.best:
        return at
    parts.checkpoints.save_best(int(state.step), variables, {"stage": stage.name, **scores})
    return dataclasses.replace(at, best=score)
