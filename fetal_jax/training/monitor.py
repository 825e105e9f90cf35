"""The monitor of a stage's steps: logs their metrics and stops a run whose loss is NaN or infinite."""

import math
from collections.abc import Mapping

import jax

from fetal_jax.core.types import UserError
from fetal_jax.training.components import LoopComponents
from fetal_jax.training.stages import Stage


class Diverged(UserError):
    """The loss is NaN or infinite."""


def diverged(what: str, stage: Stage) -> Diverged:
    """The error for a run that cannot be saved by going on."""
    return Diverged(
        f"{what}, in stage {stage.name}: lower stages.{stage.name}.learning_rate, in a new --workdir; "
        "the checkpoint of the last good epoch is kept"
    )


class Monitor:
    """Reads metrics one step late, so that the device never waits for the host; stops a run that diverges."""

    def __init__(self, parts: LoopComponents, stage: Stage, *, per_epoch: int, steps_before: int):
        self._parts, self._stage, self._per_epoch, self._steps_before = parts, stage, per_epoch, steps_before
        self._pending: tuple[int, dict[str, jax.Array], Mapping[str, float]] | None = None

    def see(self, step: int, metrics: dict[str, jax.Array], hp: Mapping[str, float]) -> None:
        """Takes the metrics of a step that may still be running, and reports the step before."""
        self.flush()
        self._pending = step, metrics, hp

    def flush(self) -> None:
        """Reports the pending step. Raises Diverged if its loss is not finite."""
        if self._pending is None:
            return
        (step, metrics, hp), self._pending = self._pending, None
        values = {name: float(value) for name, value in metrics.items()}
        global_step = self._steps_before + step + 1
        for name in ("loss", "update_norm"):
            if not math.isfinite(values[name]):
                raise diverged(f"the {name.replace('_', ' ')} is {values[name]} at step {global_step}", self._stage)
        if step % self._parts.log_every == 0:
            values |= {name: hp[name] for name in self._stage.scheduled}
            where = {"stage": self._stage.name, "epoch": step // self._per_epoch + 1}
            self._parts.writer.scalars(global_step, "train", values, **where)
        self._parts.progress.update(global_step, stage=self._stage.name, loss=values["loss"])
