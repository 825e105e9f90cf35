"""Checkpoints: what is written comes back to the bit, and a write that fails costs nothing that was there."""

import errno
import json
import logging
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from fetal_jax.core.types import TrainState, Variables
from fetal_jax.training import checkpoints as checkpoint
from fetal_jax.training.checkpoints import CheckpointError, Checkpoints

PROGRESS = {"stage": 1, "step": 3, "data": {"next_index": 12}, "best": 0.25, "seconds": {"decoder": 1.5}}


def make_state(step=3, teacher=False):
    values = np.random.default_rng(step)
    kernel = jnp.asarray(values.random((3, 4), np.float32))
    student = Variables({"encoder": {"kernel": kernel}}, {"encoder": {"mean": jnp.arange(4.0)}})
    moments = (jnp.int32(step), {"encoder": {"kernel": kernel / 3}})
    teachers, aux = ({"teacher": student}, jnp.float32(step)) if teacher else ({}, ())
    return TrainState(jnp.int32(step), {"student": student}, teachers, {"student": moments}, aux)


def network(state):
    return state.networks["student"]


def shapes(tree):
    return jax.eval_shape(lambda: tree)


def assert_same(first, second):
    assert jax.tree.structure(first) == jax.tree.structure(second)
    jax.tree.map(np.testing.assert_array_equal, first, second)
    assert [leaf.dtype for leaf in jax.tree.leaves(first)] == [leaf.dtype for leaf in jax.tree.leaves(second)]


def folders(workdir, name="latest"):
    return sorted(path.name for path in (workdir / "checkpoints" / name).iterdir())


@pytest.fixture
def checkpoints(tmp_path):
    opened = Checkpoints(tmp_path)
    yield opened
    opened.close()


def test_every_bundle_says_of_which_split_it_is_and_another_one_is_refused(tmp_path):
    mine = Checkpoints(tmp_path, {"split": "a" * 64})
    mine.save_latest(3, make_state(), PROGRESS)
    mine.save_best(2, network(make_state()), {"stage": "decoder"})
    for name in ("latest", "best"):
        (text,) = (tmp_path / "checkpoints" / name).glob("*/progress/metadata")
        assert json.loads(text.read_text())["origin"] == {"split": "a" * 64}
    mine.close()
    assert Checkpoints(tmp_path, {"split": "a" * 64}).latest_progress() == PROGRESS
    with pytest.raises(CheckpointError, match=r"latest is of another split \(a{16}, not b{16}\): choose another"):
        Checkpoints(tmp_path, {"split": "b" * 64}).latest_progress()


@pytest.mark.parametrize("teacher", [False, True])
def test_state_and_progress_come_back_in_another_process(checkpoints, tmp_path, teacher):
    state = make_state(teacher=teacher)
    checkpoints.save_latest(3, state, PROGRESS)
    checkpoints.save_best(2, network(state), {"stage": "decoder", "dice": 0.25})
    again = Checkpoints(tmp_path)
    assert again.latest_step == 3
    assert again.latest_progress() == PROGRESS
    whole = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    template = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=whole), shapes(state))
    assert_same(again.restore_latest(template), state)
    assert_same(again.restore_best(network(state)), network(state))
    again.close()


def test_a_new_workdir_has_no_progress(checkpoints):
    assert checkpoints.latest_progress() is None
    assert checkpoints.latest_step == 0


def test_only_the_last_bundle_is_kept(checkpoints, tmp_path):
    for step in (1, 2, 5):
        checkpoints.save_latest(step, make_state(step), PROGRESS | {"step": step})
        checkpoints.save_best(step, network(make_state(step)), {})
    assert folders(tmp_path) == ["5"]
    assert folders(tmp_path, "best") == ["5"]
    assert checkpoints.latest_progress()["step"] == 5
    assert_same(checkpoints.restore_latest(make_state()), make_state(5))
    assert_same(checkpoints.restore_best(network(make_state())), network(make_state(5)))


def test_a_step_that_is_saved_is_not_written_again(checkpoints):
    checkpoints.save_latest(3, make_state(), PROGRESS)
    checkpoints.save_latest(3, make_state(), PROGRESS | {"best": 0.5})
    assert checkpoints.latest_progress() == PROGRESS


@pytest.fixture
def failing(monkeypatch, tmp_path):
    """Makes Orbax begin a bundle and fail with the given error."""

    def fail_with(error):
        def save(manager, step, **kwargs):
            partial = tmp_path / "checkpoints" / "latest" / f"{step}.orbax-checkpoint-tmp"
            (partial / "state").mkdir(parents=True)
            (partial / "state" / "half").write_text("half")
            raise error

        monkeypatch.setattr(ocp.CheckpointManager, "save", save)

    monkeypatch.setattr(logging.getLogger("asyncio"), "disabled", False)  # as it was, after the test
    return fail_with


@pytest.mark.slow
@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        ValueError("RESOURCE_EXHAUSTED: Error writing 'state/d/1': No space left on device\nand where\nthat was"),
    ],
)
def test_a_write_that_fails_is_told_and_leaves_what_was_there(checkpoints, tmp_path, failing, error):
    checkpoints.save_latest(3, make_state(), PROGRESS)
    failing(error)
    with pytest.raises(CheckpointError) as told:
        checkpoints.save_latest(4, make_state(4), PROGRESS | {"step": 4})
    message = str(told.value)
    assert "No space left on device" in message
    assert str(tmp_path / "checkpoints" / "latest") in message
    assert "free some disk space and run the same command again; the previous checkpoint is whole" in message
    assert "\n" not in message
    assert folders(tmp_path) == ["3"]
    again = Checkpoints(tmp_path)
    assert again.latest_progress() == PROGRESS
    assert_same(again.restore_latest(make_state()), make_state())
    again.close()


def test_too_little_disk_is_told_before_anything_is_written(checkpoints, tmp_path, monkeypatch):
    checkpoints.save_latest(3, make_state(), PROGRESS)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda path: usage._replace(free=100))
    monkeypatch.setattr(ocp.CheckpointManager, "save", None)  # calling it would be another error
    with pytest.raises(CheckpointError, match=r"0 MiB free.*free some disk space and run the same command again"):
        checkpoints.save_latest(4, make_state(4), PROGRESS)
    assert folders(tmp_path) == ["3"]


@pytest.mark.slow
def test_an_error_of_structure_is_not_told_as_a_full_disk(checkpoints, failing):
    checkpoints.save_latest(3, make_state(), PROGRESS)
    with pytest.raises(ValueError, match="teacher") as told:
        checkpoints.restore_latest(make_state(teacher=True))
    assert not isinstance(told.value, CheckpointError)
    failing(ValueError("the tree structures do not match"))
    with pytest.raises(ValueError, match="the tree structures do not match") as told:
        checkpoints.save_latest(4, make_state(4), PROGRESS)
    assert not isinstance(told.value, CheckpointError)
