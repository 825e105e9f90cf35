"""What a network costs, from its shapes: parameters, arithmetic, memory. Nothing is computed with numbers."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.extend.core import Var

MIB = 2**20
# Lowered for a GPU, which no compiler needs to be there for: our lowerings for CPUs write convolutions as sums, which
# XLA would count otherwise.
COUNTED_ON = ("cuda",)
# Memory is planned before code is generated, so LLVM need not try hard.
QUICK: dict[str, Any] = {"xla_backend_optimization_level": 0}


def image_of(batch: int, space: Sequence[int], channels: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((batch, *space, channels), jnp.float32)


def variables_of(model: nn.Module, image: jax.ShapeDtypeStruct) -> dict[str, Any]:
    """Shapes of a network's variables by collection."""
    return jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), image)


def count(tree: Any) -> int:
    """The number of values in a tree of arrays or shapes."""
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def parameters(model: nn.Module, channels: int, space: Sequence[int] = (64, 64)) -> dict[str, int]:
    """Trained parameters, and all values that Keras would count: running averages too."""
    variables = variables_of(model, image_of(1, space, channels))
    return {"trained": count(variables["params"]), "all": count(variables)}


def gflop(function: Callable, *arguments: Any) -> float:
    """10⁹ floating-point operations of a call by XLA's cost analysis of the lowered program, before any compilation.

    A multiplication and an addition are two. `arguments` may be shapes.
    """
    function = function if hasattr(function, "trace") else jax.jit(function)
    return function.trace(*arguments).lower(lowering_platforms=COUNTED_ON).cost_analysis()["flops"] / 1e9


def inference(model: nn.Module) -> Callable:
    """(variables, image) -> logits."""
    return functools.partial(model.apply, train=False)


def inference_mib(model: nn.Module, variables: dict[str, Any], image: jax.ShapeDtypeStruct) -> float:
    """Temporary memory of inference as XLA plans it on this platform, without weights, image and logits."""
    compiled = jax.jit(inference(model)).lower(variables, image).compile(compiler_options=QUICK)
    return temporary_bytes(compiled) / MIB


def temporary_bytes(compiled: Any) -> int:
    """Temporary memory of a compiled program, as XLA plans it."""
    return compiled.memory_analysis().temp_size_in_bytes


def saved_mib(model: nn.Module, variables: dict[str, Any], image: jax.ShapeDtypeStruct) -> float:
    """What differentiation keeps of a forward pass in training for the way back, without the weights themselves.

    XLA may keep less: it computes cheap values again where that saves memory.
    """

    def backward(params, others, image):
        def logits(params):
            rngs = {"dropout": jax.random.key(0)}
            return model.apply({"params": params, **others}, image, train=True, rngs=rngs, mutable=list(others))[0]

        return jax.vjp(logits, params)[1]  # a function, whose leaves are what it keeps

    others = {name: tree for name, tree in variables.items() if name != "params"}
    jaxpr = jax.make_jaxpr(backward)(variables["params"], others, image).jaxpr
    given = set(jaxpr.invars)
    kept = {variable for variable in jaxpr.outvars if isinstance(variable, Var) and variable not in given}
    avals: list[Any] = [variable.aval for variable in kept]  # all of arrays
    return sum(aval.size * aval.dtype.itemsize for aval in avals) / MIB


def random_variables(variables: dict[str, Any], seed: int = 0) -> dict[str, Any]:
    """Values for the shapes of `variables_of`: kernels of unit gain; scales, variances 1; the rest 0.

    From NumPy: initializers would take seconds to compile.
    """
    rng = np.random.default_rng(seed)

    def value(path, leaf):
        if len(leaf.shape) > 1:
            gain = np.sqrt(2 / np.prod(leaf.shape[:-1]))
            return (gain * rng.standard_normal(leaf.shape)).astype(leaf.dtype)
        return np.full(leaf.shape, float(path[-1].key in ("scale", "var", "variance")), leaf.dtype)

    return jax.tree_util.tree_map_with_path(value, variables)
