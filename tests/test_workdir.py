"""The labels of a run on disk: what is read back, and what a kill half way leaves."""

import numpy as np
import pytest

from fetal_jax.core.json_files import write_json
from fetal_jax.core.types import UserError
from fetal_jax.methods.self_training import SelfTraining
from fetal_jax.methods.supervised import Supervised
from fetal_jax.training.pseudo_labels import KEPT, PseudoLabel
from fetal_jax.training.stages import Stage
from fetal_jax.workdir import Workdir

RECORD = {"stage": "retrain", "n_pool": 2, "n_kept": 1}


@pytest.fixture
def workdir(tmp_path):
    return Workdir(tmp_path)


def answers(trust=0.375):
    labels = np.arange(6, dtype=np.uint8).reshape(2, 3)
    weights = np.full((2, 3), trust, np.float32)
    return [PseudoLabel(labels, weights, KEPT, 5, 0.9), PseudoLabel(labels + 1, 0 * weights, "too small", 6, 0.4)]


def save(workdir, labels, record=RECORD):
    """One labelling, as a run writes it."""
    workdir.begin_labels("retrain")
    for i, label in enumerate(labels):
        workdir.save_label("retrain", i, label)
    workdir.finish_labels("retrain", record)


def files_of(workdir):
    return sorted(str(p.relative_to(workdir.path / "labels")) for p in (workdir.path / "labels").rglob("*.*"))


def test_labels_come_back_with_fractional_trust(workdir):
    save(workdir, answers())
    read = workdir.load_labels("retrain")
    np.testing.assert_array_equal(read.labels[1], answers()[1].labels)
    assert read.labels[0].dtype == np.uint8
    np.testing.assert_array_equal(read.weights[0], np.float32(0.375))
    assert read.weights[0].dtype == np.float32
    assert read.kept.tolist() == [True, False]
    assert workdir.labelling_record("retrain") == RECORD
    assert files_of(workdir) == ["retrain.json", "retrain/000000.npz", "retrain/000001.npz"]


def test_one_label_comes_back_as_it_was_but_for_the_last_bits_of_its_weights(workdir):
    save(workdir, answers(trust=0.1))
    for i, label in enumerate(answers(trust=0.1)):
        read = workdir.load_label("retrain", i)
        np.testing.assert_array_equal(read.labels, label.labels)
        np.testing.assert_allclose(read.weights, label.weights, rtol=2**-11)
        assert (read.reason, read.pixels, read.confidence, read.kept) == (
            label.reason,
            label.pixels,
            label.confidence,
            label.kept,
        )


def test_items_may_have_shapes_of_their_own(workdir):
    """Volumes do."""
    labels = [
        PseudoLabel(np.full(shape, 2, np.uint8), np.ones(shape, np.float32), KEPT, 1, 1.0)
        for shape in ((2, 3, 4), (5, 1, 2))
    ]
    save(workdir, labels)
    read = workdir.load_labels("retrain")
    assert [x.shape for x in read.labels] == [x.shape for x in read.weights] == [(2, 3, 4), (5, 1, 2)]
    assert read.kept.tolist() == [True, True]


def test_a_labelling_without_its_record_is_none(workdir):
    assert workdir.labelling_record("retrain") is None
    workdir.begin_labels("retrain")
    workdir.save_label("retrain", 0, answers()[0])
    assert workdir.labelling_record("retrain") is None
    with pytest.raises(
        UserError, match=r"labels/retrain\.json is missing: run the training again in another --workdir"
    ):
        workdir.load_labels("retrain")


def test_the_record_is_the_last_thing_written(workdir, monkeypatch):
    save(workdir, answers())
    save_arrays = np.savez_compressed

    def spy(path, **arrays):
        assert workdir.labelling_record("retrain") is None, "new labels never stand beside an old record"
        save_arrays(path, **arrays)
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez_compressed", spy)
    with pytest.raises(OSError, match="disk full"):
        save(workdir, answers(trust=1.0))
    assert workdir.labelling_record("retrain") is None
    assert files_of(workdir) == ["retrain/000000.npz", "retrain/000001.npz"]  # the old ones, and no part of a new one
    np.testing.assert_array_equal(workdir.load_label("retrain", 0).weights, np.float32(0.375))


def test_a_smaller_labelling_leaves_nothing_of_a_larger_one(workdir):
    save(workdir, answers())
    save(workdir, answers()[:1], RECORD | {"n_pool": 1})
    read = workdir.load_labels("retrain")
    assert (len(read.labels), len(read.weights), len(read.kept)) == (1, 1, 1)


def test_records_are_those_of_the_stages_that_have_labelled(workdir):
    stages = [
        Stage(name="fine_tune", epochs=1, learning_rate=0.1, method=Supervised()),
        *(
            Stage(
                name=name,
                epochs=1,
                learning_rate=0.1,
                method=SelfTraining(),
                data=("labelled", "unlabelled"),
                pseudo_labeller="naive",
            )
            for name in ("retrain", "retrain_2")
        ),
    ]
    assert workdir.labelling_records(stages) == []
    save(workdir, answers())
    assert workdir.labelling_records(stages) == [RECORD]


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path):
    path = tmp_path / "summary.json"
    write_json(path, {"dice": 0.5}, format=1)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"dice": float("nan")}, format=1)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["summary.json"]


def test_a_run_says_whose_weights_it_began_with(workdir):
    header = {
        "encoder": "resnet18",
        "source": "",
        "source_file": "mine.safetensors",
        "source_sha256": "0123456789abcdef",
    }
    assert workdir.initial_weights("") == "random"
    assert workdir.initial_weights("mine.npz") == "mine.npz"  # begun by a version that did not record more
    write_json(workdir.path / "weights.json", header, format=1)
    assert workdir.initial_weights("mine.npz") == "resnet18 of mine.safetensors, sha256 01234567"
