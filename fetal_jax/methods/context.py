"""How a method reaches networks: forward, perturbed and target passes, so that no method can get them wrong."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from fetal_jax.core import logits as classes
from fetal_jax.core import rng as rngs
from fetal_jax.core.types import Sample, Variables
from fetal_jax.losses.compose import Loss, masked_mean
from fetal_jax.methods.base import Hyperparameters

Outputs = list[jax.Array]  # logits of a pass, and further logits that are trained beside them (deep supervision)


@dataclasses.dataclass
class Context:
    """One step's view of the networks. It lives as long as the loss is traced and is never stored.

    Attributes:
      models: the modules of the networks that are trained, by name.
      params: their parameters, by which the loss is differentiated.
      networks: their variables as the step found them.
      teachers: networks that are not trained, by name; a teacher is a copy of the first network.
      statistics: running averages by name, as the forward passes so far leave them.
      objective: supervised losses [b] of logits, labels and weights.
      frozen: parameter groups that are not trained.
      hp: the scheduled numbers of this step.
      key: of this stage; with `step` it gives every random number.
    """

    models: Mapping[str, nn.Module]
    params: Mapping[str, Any]
    networks: Mapping[str, Variables]
    teachers: Mapping[str, Variables]
    objective: Loss
    frozen: tuple[str, ...]
    hp: Hyperparameters
    key: jax.Array
    step: jax.Array
    statistics: dict[str, Any] = dataclasses.field(default_factory=dict)
    _passes: dict[str, int] = dataclasses.field(default_factory=dict)

    def forward(self, name: str, images: jax.Array) -> Outputs:
        """A training pass: the gradient flows, and running averages are kept."""
        outputs, statistics = self._train(name, "dropout", images)
        self.statistics[name] = statistics
        return outputs

    def perturbed(self, name: str, images: jax.Array) -> jax.Array:
        """The logits of a training pass on unusual images: the gradient flows, running averages are left alone."""
        return self._train(name, "dropout_perturbed", images)[0][0]

    def target(self, name: str, images: jax.Array) -> jax.Array:
        """The logits of a network or teacher in evaluation mode; no gradient enters it."""
        variables = self.teachers[name] if name in self.teachers else self.networks[name]
        model = self.models[name] if name in self.models else next(iter(self.models.values()))
        logits: Any = model.apply(variables.as_dict(), images, train=False)
        return jax.lax.stop_gradient(logits)

    def random_key(self, name: str) -> jax.Array:
        """The key of this step's random stream `name`, e.g. for the boxes of a mixture."""
        return rngs.step_key(self.key, name, self.step)

    def supervised_loss(self, outputs: Sequence[jax.Array], sample: Sample) -> jax.Array:
        """The mean loss over images with a trusted pixel, and over all logits of the pass (deep supervision)."""
        fits = [
            masked_mean(self.objective(logits, sample.labels, sample.weights), sample.weights) for logits in outputs
        ]
        return sum(fits[1:], fits[0]) / len(fits)

    def _train(self, name: str, stream: str, images: jax.Array) -> tuple[Outputs, Any]:
        batch_stats = self.statistics.get(name, self.networks[name].batch_stats)
        logits, updates = self.models[name].apply(
            {"params": self.params[name], "batch_stats": batch_stats},
            images,
            train=True,
            frozen=self.frozen,
            rngs={"dropout": self._dropout_key(name, stream)},
            mutable=["batch_stats", "auxiliary"],
        )
        auxiliary = jax.tree.leaves(updates.get("auxiliary", ()))
        return [logits, *auxiliary], updates.get("batch_stats", {})

    def _dropout_key(self, name: str, stream: str) -> jax.Array:
        """Another key for every pass of a step and for every network: equal masks would make networks alike."""
        number = self._passes.get(f"{stream} {name}", 0)
        self._passes[f"{stream} {name}"] = number + 1
        suffix = [name] if name != next(iter(self.models)) else []
        suffix += [str(number)] if number else []
        return self.random_key("_".join([stream, *suffix]))


def probabilities(logits: jax.Array) -> jax.Array:
    """Class probabilities, background first, also of a network with one logit."""
    return classes.with_background(classes.probabilities(logits))


def hard_labels(logits: jax.Array) -> jax.Array:
    """The most probable class of each pixel."""
    return jnp.argmax(probabilities(logits), axis=-1)
