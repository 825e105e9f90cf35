"""Guided backpropagation: the gradient, with only positive signals let through the activations on the way back.

At a ReLU, y = max(x, 0), the gradient g by y becomes g · [g > 0] · [x > 0] by x (Springenberg et al., "Striving for
simplicity", 2015, section 3.4). For Swish there is no published rule. Here it is the same one with Swish's own slope:
g · [g > 0] · [x > 0] · swish'(x), of which ReLU's is a special case. Sigmoids of gates and GELUs are left as they are.

Adebayo et al. ("Sanity checks for saliency maps", NeurIPS 2018) show that what comes out depends on the edges of the
image more than on the weights: `sanity` measures it.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.extend import core
from jaxtyping import Float

from fetal_jax.core.types import Array

ACTIVATIONS = {"relu": jax.nn.relu, "silu": jax.nn.silu}  # by the names that they have in a traced program


def guided(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """The function, with another gradient: its ReLU and Swish activations let only positive signals back.

    The function's program is traced, and those activations are replaced in it; so networks need to know nothing of it.
    """

    def run(x: Array) -> Array:
        (y,) = core.jaxpr_as_fun(_with_guidance(jax.make_jaxpr(function)(x)))(x)
        return y

    return run


def _with_guidance(program: core.ClosedJaxpr) -> core.ClosedJaxpr:
    return program.replace(jaxpr=program.jaxpr.replace(eqns=[_guided_step(step) for step in program.jaxpr.eqns]))


def _guided_step(step: core.JaxprEqn) -> core.JaxprEqn:
    if name := _activation(step):
        (aval,) = (variable.aval for variable in step.invars)
        assert isinstance(aval, ShapedArray)  # as is every array of a traced program
        (instead,) = jax.make_jaxpr(_guided(ACTIVATIONS[name]))(jax.ShapeDtypeStruct(aval.shape, aval.dtype)).eqns
        return instead.replace(invars=step.invars, outvars=step.outvars)
    if step.primitive.name == "jit":
        return step.replace(params=step.params | {"jaxpr": _with_guidance(step.params["jaxpr"])})
    return step


def _activation(step: core.JaxprEqn) -> str | None:
    """The name of the activation that a step is, if it is one: a compiled function, maybe with a rule for gradients."""
    if step.primitive.name == "custom_jvp_call":
        (step, *_) = step.params["call_jaxpr"].jaxpr.eqns
    name = ({"name": None} | step.params)["name"]
    return name if step.primitive.name == "jit" and name in ACTIVATIONS else None


def _guided(activation: Callable[[Array], Array]) -> Callable[[Float[Array, "*any"]], Float[Array, "*any"]]:
    @jax.custom_vjp
    def forward(x):
        return activation(x)

    def backward(x, gradient):
        _, back = jax.vjp(activation, x)
        (by_x,) = back(jnp.maximum(gradient, 0))
        return (jnp.where(x > 0, by_x, 0),)

    forward.defvjp(lambda x: (activation(x), x), backward)
    return forward
