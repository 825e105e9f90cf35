"""The state machine: the protocol in order and in words, and entering a stage."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import ss_case_unet
from fetal_jax.config import to_plain
from fetal_jax.training.optimizers import make_optimizer
from fetal_jax.training.stages import describe, enter_stage, make_protocol
from fetal_jax.training.state import TrainState
from fetal_jax.types import UserError, Variables

PLAIN = {
    "epochs": 2,
    "learning_rate": 1e-3,
    "frozen": [],
    "augment": "none",
    "pool": "labelled",
    "objective": "dice",
    "consistency": 0.0,
    "labeller": "",
}
STAGES = {
    "decoder": PLAIN | {"frozen": ["encoder"]},
    "fine_tune": PLAIN,
    "retrain": PLAIN | {"pool": "both", "labeller": "threshold"},
}
NAMES = tuple(STAGES)
_, SUPERVISED, LABELLED = make_protocol(NAMES, STAGES, 1)
OPTIMIZER = make_optimizer("adam", 0.1, 1.0, ())


def state():
    params = {"encoder": {"kernel": jnp.ones((2, 3))}, "decoder": {"kernel": jnp.full((3, 1), 2.0)}}
    stats = {"encoder": {"mean": jnp.zeros(3)}}
    return TrainState(step=jnp.int32(4), params=params, batch_stats=stats, opt_state=(), teacher=None)


def snapshot(tree):
    return jax.tree.map(np.array, tree)


def test_a_protocol_is_told_in_one_line():
    assert describe(make_protocol(NAMES, STAGES, 1)) == "DECODER → FINE_TUNE → LABEL → RETRAIN → DONE"
    assert describe(make_protocol(("fine_tune",), STAGES, 3)) == "FINE_TUNE → DONE"


def test_rounds_repeat_label_and_retrain_under_their_own_names():
    protocol = make_protocol(NAMES, STAGES, 3)
    assert [stage.name for stage in protocol] == ["decoder", "fine_tune", "retrain", "retrain_2", "retrain_3"]
    assert describe(protocol).endswith("FINE_TUNE → LABEL → RETRAIN → LABEL → RETRAIN_2 → LABEL → RETRAIN_3 → DONE")
    assert dataclasses.replace(protocol[4], name="retrain") == protocol[2]


def test_a_stage_is_hashable_data():
    protocol = make_protocol(NAMES, STAGES, 1)
    assert protocol[0].frozen == ("encoder",)
    assert len({*protocol, *make_protocol(NAMES, STAGES, 1)}) == 3


def test_the_published_protocol_is_one():
    settings = to_plain(ss_case_unet.get_config("schedule=published"))
    protocol = make_protocol(settings["protocol"], settings["stages"], settings["rounds"])
    assert [(stage.name, stage.epochs) for stage in protocol] == [("decoder", 20), ("fine_tune", 50), ("retrain", 30)]
    assert [stage.frozen for stage in protocol] == [("encoder",), (), ()]
    assert protocol[2].labeller == "threshold"


@pytest.mark.parametrize(
    ("names", "change", "rounds", "message"),
    [
        (("decoder", "tune"), {}, 1, "stage 'tune': known stages are decoder, fine_tune, retrain"),
        (NAMES, {}, 0, "rounds is 0"),
        (("decoder", "decoder"), {}, 1, "names a stage twice"),
        (NAMES, {"epochs": 0}, 1, r"stages\.fine_tune\.epochs is 0"),
        (NAMES, {"pool": "all"}, 1, r"stages\.fine_tune\.pool 'all' is unknown: choose one of labelled, both"),
        (NAMES, {"pool": "both"}, 1, r"stages\.fine_tune draws on the pool: give it a labeller or a consistency"),
        (NAMES, {"freeze": []}, 1, r"'stages\.fine_tune\.freeze' is unknown: a stage has epochs, learning_rate"),
    ],
)
def test_a_wrong_protocol_names_its_key(names, change, rounds, message):
    with pytest.raises(UserError, match=message):
        make_protocol(names, STAGES | {"fine_tune": PLAIN | change}, rounds)


def test_a_missing_key_is_named():
    short = {key: value for key, value in PLAIN.items() if key != "augment"}
    with pytest.raises(UserError, match=r"'stages\.fine_tune\.augment' is missing"):
        make_protocol(("fine_tune",), {"fine_tune": short}, 1)


def test_entering_changes_nothing_but_optimizer_and_teacher():
    before = state()
    old = snapshot(before)
    after = enter_stage(before, SUPERVISED, OPTIMIZER)
    jax.tree.map(np.testing.assert_array_equal, snapshot(before), old)
    assert before.opt_state == ()
    assert before.teacher is None
    assert after.teacher is None
    jax.tree.map(np.testing.assert_array_equal, snapshot(after.student), old.student)
    assert after.step == 4


def test_entering_forgets_the_momentum_of_the_stage_before():
    entered = enter_stage(state(), SUPERVISED, OPTIMIZER)
    gradient = jax.tree.map(jnp.ones_like, entered.params)
    _, opt_state = OPTIMIZER.update(gradient, entered.opt_state, entered.params)
    again = enter_stage(entered.replace(opt_state=opt_state), SUPERVISED, OPTIMIZER)
    jax.tree.map(np.testing.assert_array_equal, again.opt_state, entered.opt_state)


def test_the_teacher_is_a_copy_that_outlives_the_student():
    entered = enter_stage(state(), LABELLED, OPTIMIZER)
    old = snapshot(entered.student)
    update = jax.jit(lambda s: s.replace(params=jax.tree.map(lambda p: p + 1, s.params)), donate_argnums=0)
    teacher = entered.teacher
    after = update(entered.replace(teacher=None))
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(entered.params))
    jax.tree.map(np.testing.assert_array_equal, snapshot(teacher), old)
    assert after.params["encoder"]["kernel"][0, 0] == 2


def test_student_and_teacher_can_be_donated_together():
    entered = enter_stage(state(), LABELLED, OPTIMIZER)
    after = jax.jit(lambda s: s.replace(step=s.step + 1), donate_argnums=0)(entered)
    assert after.step == 5


def test_a_later_labeller_takes_the_student_of_its_own_time():
    first = enter_stage(state(), LABELLED, OPTIMIZER)
    trained = first.replace(params=jax.tree.map(lambda p: p * 3, first.params))
    kept = enter_stage(trained, SUPERVISED, OPTIMIZER).teacher
    renewed = enter_stage(trained, LABELLED, OPTIMIZER).teacher
    assert isinstance(renewed, Variables)
    assert kept.params["decoder"]["kernel"][0, 0] == 2
    assert renewed.params["decoder"]["kernel"][0, 0] == 6
