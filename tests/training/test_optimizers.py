"""Optimizers: what is frozen stays, what is not moves, only kernels decay; the schedule's shape."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fetal_jax.core.types import UserError
from fetal_jax.training.optimizers import OPTIMIZERS, make_optimizer
from fetal_jax.training.schedules import cosine


def optimizer(name, weight_decay, clip, frozen=()):
    return make_optimizer(name, frozen)({"weight_decay": weight_decay, "clip": clip})


def params():
    rng = np.random.default_rng(0)
    return {
        group: {"conv": {"kernel": jnp.asarray(rng.normal(size=(3, 3, 2, 4))), "bias": jnp.full(4, 0.5)}}
        for group in ("encoder", "decoder")
    }


def after(transformation, gradient, steps=3, start=None):
    start = params() if start is None else start
    state = transformation.init(start)
    for _ in range(steps):
        directions, state = transformation.update(gradient(start), state, start)
        start = optax.apply_updates(start, jax.tree.map(lambda d: -0.1 * d, directions))
    return start


def ones(tree):
    return jax.tree.map(jnp.ones_like, tree)


def zeros(tree):
    return jax.tree.map(jnp.zeros_like, tree)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
@pytest.mark.parametrize("frozen", [(), ("encoder",), ("decoder",), ("encoder", "decoder")])
def test_frozen_groups_stay_bit_equal_and_every_other_parameter_moves(name, frozen):
    end = after(optimizer(name, 0.1, 1.0, frozen), ones)
    for (path, old), new in zip(jax.tree.leaves_with_path(params()), jax.tree.leaves(end), strict=True):
        if path[0].key in frozen:
            np.testing.assert_array_equal(old, new)
        else:
            assert (np.asarray(old) != np.asarray(new)).all(), path


def test_only_kernels_decay():
    end = after(optimizer("sgd", 0.2, 1.0), zeros, steps=1)
    for group, start in params().items():
        np.testing.assert_allclose(end[group]["conv"]["kernel"], start["conv"]["kernel"] * (1 - 0.1 * 0.2), rtol=1e-6)
        np.testing.assert_array_equal(end[group]["conv"]["bias"], start["conv"]["bias"])


def test_gradients_are_clipped_by_the_norm_of_what_moves():
    def huge_where_frozen(tree):
        return {"encoder": jax.tree.map(lambda x: x * 1e9, ones(tree["encoder"])), "decoder": ones(tree["decoder"])}

    start = params()
    end = after(optimizer("sgd", 0.0, 1.0, ("encoder",)), huge_where_frozen, steps=1)
    # 76 ones have norm sqrt(76), scaled to 1; Nesterov momentum adds 0.9 of it.
    moved = np.asarray(start["decoder"]["conv"]["bias"] - end["decoder"]["conv"]["bias"])
    np.testing.assert_allclose(moved, np.full(4, 0.1 * 1.9 / np.sqrt(76)), rtol=1e-4)


def test_the_first_step_of_adam_is_one_learning_rate():
    start = {"decoder": {"bias": jnp.zeros(2)}}

    def gradient(tree):
        return {"decoder": {"bias": jnp.array([3.0, -0.01])}}

    end = after(optimizer("adam", 0.0, 10.0), gradient, steps=1, start=start)
    np.testing.assert_allclose(end["decoder"]["bias"], [-0.1, 0.1], rtol=1e-4)


def test_unknown_names_are_refused():
    with pytest.raises(UserError, match=r"optimizer\.name 'adma' is unknown: choose one of adam, sgd"):
        make_optimizer("adma", ())
    with pytest.raises(UserError, match="'encodr': the parameter groups of this model are encoder, decoder"):
        make_optimizer("adam", ("encodr",))({}).init(params())


def test_hyperparameters_may_be_traced_and_change_nothing_of_the_state():
    start = params()
    state = make_optimizer("adam", ())({}).init(start)

    @jax.jit
    def step(hp):
        return make_optimizer("adam", ())(hp).update(ones(start), state, start)

    for weight_decay, clip in ((0.0, 1.0), (0.3, 0.5)):
        hp = {"weight_decay": weight_decay, "clip": clip}
        directions, after_step = step(hp)
        expected, _ = optimizer("adam", weight_decay, clip).update(ones(start), state, start)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), directions, expected)
        assert jax.tree.structure(after_step) == jax.tree.structure(state)
    assert step._cache_size() == 1


def test_the_schedule_warms_up_and_ends_at_a_hundredth():
    assert cosine(2.0, 0) == pytest.approx(0.2)
    assert cosine(2.0, 0.025) == pytest.approx(1.1)  # half of the warm-up
    assert cosine(2.0, 0.05) == pytest.approx(2.0)
    assert cosine(2.0, 0.525) == pytest.approx(1.01)  # half of the cosine: (2 + 0.02) / 2
    assert cosine(2.0, 1) == pytest.approx(0.02)
    rates = [cosine(1.0, t) for t in np.linspace(0, 1, 101)]
    assert max(rates) == rates[5]
    assert rates[5:] == sorted(rates[5:], reverse=True)
