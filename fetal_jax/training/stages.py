"""The state machine. A protocol is a list of stages; a stage is data; entering one is a pure function."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from fetal_jax.training.state import TrainState
from fetal_jax.types import UserError

POOLS = ("labelled", "both")


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stage of a protocol.

    A stage with a `labeller` first lets the current network, now the teacher, label the unlabelled pool.
    """

    name: str
    epochs: int
    learning_rate: float
    frozen: tuple[str, ...]  # top-level parameter groups that do not move
    augment: str  # a name of input_pipeline.augment
    pool: str  # "labelled", or "both" with the unlabelled pool
    objective: str  # a name of losses.compose
    consistency: float  # the final weight lambda of the consistency term
    labeller: str  # a name of training.labellers, or ""

    def __post_init__(self):
        if self.pool not in POOLS:
            raise UserError(f"stages.{self.name}.pool {self.pool!r} is unknown: choose one of {', '.join(POOLS)}")
        if self.epochs < 1:
            raise UserError(f"stages.{self.name}.epochs is {self.epochs}: it must be at least 1")
        for key in ("learning_rate", "consistency"):
            if not 0 <= getattr(self, key) < math.inf:
                raise UserError(f"stages.{self.name}.{key} is {getattr(self, key)}: it must be 0 or more")
        if self.pool == "both" and not self.labeller and not self.consistency:
            raise UserError(f"stages.{self.name} draws on the pool: give it a labeller or a consistency weight")


def make_protocol(names: Sequence[str], stages: Mapping[str, Mapping[str, Any]], rounds: int) -> tuple[Stage, ...]:
    """The stages to run, in order. Stages with a labeller are repeated `rounds` times, each under its own name."""
    unknown = [name for name in names if name not in stages]
    if unknown:
        raise UserError(f"protocol names the stage {unknown[0]!r}: known stages are {', '.join(stages)}")
    if rounds < 1:
        raise UserError(f"rounds is {rounds}: it must be at least 1")
    protocol = []
    for name in names:
        _check_keys(name, stages[name])
        stage = Stage(name=name, **{**stages[name], "frozen": tuple(stages[name]["frozen"])})
        protocol.append(stage)
        if stage.labeller:
            protocol += [dataclasses.replace(stage, name=f"{name}_{r}") for r in range(2, rounds + 1)]
    if len({stage.name for stage in protocol}) < len(protocol):
        raise UserError("protocol names a stage twice: repeat LABEL and RETRAIN with rounds")
    return tuple(protocol)


def _check_keys(name: str, values: Mapping[str, Any]) -> None:
    keys = [field.name for field in dataclasses.fields(Stage) if field.name != "name"]
    for key in [*keys, *values]:
        if (key in keys) != (key in values):
            what = "missing" if key in keys else "unknown"
            raise UserError(f"config key 'stages.{name}.{key}' is {what}: a stage has {', '.join(keys)}")


def describe(protocol: Sequence[Stage]) -> str:
    """`DECODER → FINE_TUNE → LABEL → RETRAIN → DONE`."""
    words = [word for stage in protocol for word in ((["LABEL"] if stage.labeller else []) + [stage.name.upper()])]
    return " → ".join([*words, "DONE"])


def enter_stage(state: TrainState, stage: Stage, optimizer: optax.GradientTransformation) -> TrainState:
    """The state with which a stage begins: a fresh optimizer and, before labelling, the student copied as teacher."""
    # A copy: a teacher that shares buffers with a donated student would be donated with it.
    teacher = jax.tree.map(jnp.copy, state.student) if stage.labeller else state.teacher
    return state.replace(opt_state=optimizer.init(state.params), teacher=teacher)
