"""The interface of a training method: what a step minimises, what it remembers, and which network is published."""

import abc
import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp

from fetal_jax.core.types import Batch, TrainState, Variables

if TYPE_CHECKING:
    from fetal_jax.methods.context import Context

Schedule = Callable[[float], float]  # of the progress in [0, 1] of a stage
Metrics = dict[str, jax.Array]
Hyperparameters = Mapping[str, Any]  # scheduled numbers of one step, by name; traced


def option(default: float, *, below: float = math.inf) -> Any:
    """A field of a method: a number of at least 0 and less than `below`."""
    return dataclasses.field(default=default, metadata={"below": below})


@dataclasses.dataclass(frozen=True)
class Method(abc.ABC):
    """One way to train. The fields of a subclass are its options: numbers that a study may vary.

    An option reaches the compiled step only through `schedules` and `hp`: a step that read it as an attribute would
    be compiled anew for each value. Everything here is pure.

    Attributes:
      networks: the networks that are trained; the first of them starts from what the stage before published.
      views: how many perturbed views of each unlabelled image a batch must have.
      unlabelled: whether it draws unlabelled images.
      pseudo_labels: whether the unlabelled images need labels, those of the stage's pseudo-labeller.
    """

    networks: ClassVar[tuple[str, ...]] = ("student",)
    views: ClassVar[int] = 0
    unlabelled: ClassVar[bool] = True
    pseudo_labels: ClassVar[bool] = False

    def schedules(self) -> dict[str, Schedule]:
        """The method's own numbers by the name under which the step finds them, and the log shows them."""
        return {}

    def enter(self, state: TrainState, key: jax.Array) -> TrainState:
        """The state with which a stage begins: adds teachers (as copies: the student is donated) and `aux`."""
        del key
        return state

    @abc.abstractmethod
    def loss(self, ctx: "Context", batch: Batch) -> tuple[jax.Array, Metrics]:
        """The number to minimise and what is logged beside it."""

    def after_update(self, state: TrainState, hp: Hyperparameters) -> TrainState:
        """The state after the optimizer's step: moving averages, thresholds, queues."""
        del hp
        return state

    def published(self, state: TrainState) -> Variables:
        """The network that is validated, kept and exported."""
        return state.networks[self.networks[0]]


def copied(variables: Variables) -> Variables:
    """A copy with buffers of its own: what shares them with a donated network would be donated with it."""
    return jax.tree.map(jnp.copy, variables)


def moving_average(average: Variables, new: Variables, decay: jax.Array) -> Variables:
    """`decay` of the average and the rest of the new; parameters and running statistics alike."""
    return jax.tree.map(lambda a, n: (decay * a + (1 - decay) * n).astype(a.dtype), average, new)


def constant(value: float) -> Schedule:
    """The same number at any progress."""
    return lambda progress: value


def linear_ramp(value: float, begin: float, end: float) -> Schedule:
    """0 up to the share `begin` of a stage, `value` from the share `end` on, a straight line between them."""

    def at(progress: float) -> float:
        if progress < begin:
            return 0.0
        return value * min((progress - begin) / max(end - begin, 1e-9), 1.0)

    return at
