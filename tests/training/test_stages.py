"""Stages as data: what is refused, the protocol in words, the numbers of a step, and entering a stage."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fetal_jax.core.types import TrainState, UserError, Variables
from fetal_jax.methods import make_method
from fetal_jax.training.optimizers import make_optimizer
from fetal_jax.training.stages import Stage, check_protocol, describe
from fetal_jax.training.state import create_state, enter_stage

SUPERVISED, MEAN_TEACHER, CPS = (make_method(name, {}) for name in ("supervised", "mean_teacher", "cps"))
SELF_TRAINING = make_method("self_training", {})
BOTH = ("labelled", "unlabelled")
DECODER = Stage("decoder", 2, 1e-3, SUPERVISED, frozen=("encoder",))
FINE_TUNE = Stage("fine_tune", 2, 1e-3, SUPERVISED)
RETRAIN = Stage("retrain", 2, 1e-3, SELF_TRAINING, data=BOTH, pseudo_labeller="threshold")
OPTIMIZER = make_optimizer("adam", ())
KEY = jax.random.key(0)


def variables(scale=1.0) -> Variables:
    params = {"encoder": {"kernel": jnp.full((2, 3), scale)}, "decoder": {"kernel": jnp.full((3, 1), 2 * scale)}}
    return Variables(params, {"encoder": {"mean": jnp.zeros(3)}})


def create(name) -> Variables:
    return variables(float(len(name)))


def enter(state, method, before=None, start=None):
    return enter_stage(state, before, method, OPTIMIZER, create, KEY, start)


def snapshot(tree):
    return jax.tree.map(np.array, tree)


def assert_same(first, second):
    jax.tree.map(np.testing.assert_array_equal, snapshot(first), snapshot(second))


def test_a_protocol_is_told_in_one_line():
    assert describe((DECODER, FINE_TUNE, RETRAIN)) == "DECODER → FINE_TUNE → LABEL → RETRAIN → DONE"
    again = dataclasses.replace(RETRAIN, name="retrain_2")
    assert describe((FINE_TUNE, RETRAIN, again)) == "FINE_TUNE → LABEL → RETRAIN → LABEL → RETRAIN_2 → DONE"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, r"stages\.fine_tune\.epochs is 0: it must be at least 1"),
        ({"learning_rate": -1.0}, r"stages\.fine_tune\.learning_rate is -1\.0: it must be 0 or more"),
        ({"learning_rate": float("inf")}, r"stages\.fine_tune\.learning_rate is inf"),
        ({"weight_decay": float("nan")}, r"stages\.fine_tune\.weight_decay is nan"),
        ({"clip": 0.0}, r"stages\.fine_tune\.clip is 0\.0: it must be above 0"),
        ({"objective": "dise"}, r"objective 'dise' is unknown: choose one of cross_entropy, focal, dice"),
        ({"loss_weights": {"focal": 1.0}}, r"loss_weights is 'focal': the terms of bce_dice are cross_entropy, dice"),
        ({"loss_weights": {"dice": -1.0}}, r"stages\.fine_tune\.loss_weights\.dice is -1\.0"),
        ({"data": ("unlabelled",)}, r"stages\.fine_tune\.data is \['unlabelled'\]: choose labelled, or labelled,unl"),
        ({"data": BOTH}, r"this method does not use unlabelled images, set labelled"),
        ({"method": MEAN_TEACHER}, r"this method needs unlabelled images, set labelled,unlabelled"),
        ({"method": SELF_TRAINING, "data": BOTH}, r"stages\.fine_tune\.pseudo_labeller is ''"),
    ],
)
def test_a_wrong_stage_names_its_key(change, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(FINE_TUNE, **change)


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ((), "stages is empty: name at least one stage"),
        ((DECODER, DECODER), "stages has 'decoder' twice"),
        (
            (dataclasses.replace(DECODER, init="fine_tune"), FINE_TUNE),
            r"decoder\.init is 'fine_tune': name a",
        ),
    ],
)
def test_a_wrong_protocol_is_refused(stages, message):
    with pytest.raises(UserError, match=message):
        check_protocol(stages)


def test_every_number_of_a_step_is_a_hyperparameter():
    stage = dataclasses.replace(RETRAIN, loss_weights={"dice": 0.25}, clip=3.0, weight_decay=0.5)
    hp = stage.hyperparameters(1.0)
    assert hp == {
        "learning_rate": pytest.approx(1e-5),
        "weight_decay": 0.5,
        "clip": 3.0,
        "cross_entropy_weight": 1.0,
        "dice_weight": 0.25,
        "consistency_weight": 1.0,
    }
    assert stage.scheduled == ("learning_rate", "consistency_weight")


def test_entering_changes_nothing_but_the_optimizer():
    before = create_state(variables()).replace(step=jnp.int32(4))
    old = snapshot(before)
    after = enter(before, SUPERVISED)
    assert_same(before, old)
    assert before.opt_state == {}
    assert list(after.opt_state) == ["student"]
    assert after.teachers == {}
    assert_same(after.networks, old.networks)
    assert after.step == 4


def test_entering_forgets_the_momentum_of_the_stage_before():
    entered = enter(create_state(variables()), SUPERVISED)
    params = entered.networks["student"].params
    _, opt_state = OPTIMIZER({}).update(jax.tree.map(jnp.ones_like, params), entered.opt_state["student"], params)
    again = enter(entered.replace(opt_state={"student": opt_state}), SUPERVISED, SUPERVISED)
    assert_same(again.opt_state, entered.opt_state)


def test_the_teacher_is_a_copy_that_can_be_donated_with_the_student():
    entered = enter(create_state(variables()), MEAN_TEACHER)
    assert_same(entered.teachers["teacher"], entered.networks["student"])
    update = jax.jit(lambda s: s.replace(step=s.step + 1), donate_argnums=0)
    assert update(entered).step == 1


def test_what_a_mean_teacher_published_goes_on():
    entered = enter(create_state(variables()), MEAN_TEACHER)
    trained = entered.replace(teachers={"teacher": variables(7.0)})
    after = enter(trained, SUPERVISED, MEAN_TEACHER)
    assert_same(after.networks, {"student": variables(7.0)})
    assert after.teachers == {}
    assert after.aux == ()


def test_a_second_network_is_new_and_the_first_goes_on():
    entered = enter(create_state(variables(5.0)), CPS, SUPERVISED)
    assert_same(entered.networks, {"a": variables(5.0), "b": create("b")})
    assert sorted(entered.opt_state) == ["a", "b"]
    again = enter(entered.replace(networks={"a": variables(1.0), "b": variables(3.0)}), CPS, CPS)
    assert_same(again.networks, {"a": variables(1.0), "b": variables(3.0)})  # both go on
    back = enter(again, SUPERVISED, CPS)
    assert_same(back.networks, {"student": variables(1.0)})


def test_a_stage_can_start_from_what_an_earlier_one_kept():
    after = enter(create_state(variables(5.0)), SUPERVISED, SUPERVISED, start=variables(9.0))
    assert_same(after.networks, {"student": variables(9.0)})


def test_shapes_can_be_entered_without_arrays():
    def through(state: TrainState) -> TrainState:
        for before, method in ((None, SUPERVISED), (SUPERVISED, CPS), (CPS, MEAN_TEACHER)):
            state = enter(state, method, before)
        return state

    shapes = jax.eval_shape(through, create_state(variables()))
    arrays = through(create_state(variables()))
    assert jax.tree.structure(shapes) == jax.tree.structure(arrays)
    assert [leaf.shape for leaf in jax.tree.leaves(shapes)] == [leaf.shape for leaf in jax.tree.leaves(arrays)]
