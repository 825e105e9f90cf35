"""The labels of a run on disk: what is read back, and what a kill half way leaves."""

import numpy as np
import pytest

from fetal_jax.training.labellers import KEPT, PseudoLabel
from fetal_jax.workdir import Workdir, write_json

RECORD = {"stage": "retrain", "n_kept": 1}


@pytest.fixture
def workdir(tmp_path):
    return Workdir(tmp_path)


def answers(trust=0.375):
    labels = np.arange(6, dtype=np.uint8).reshape(2, 3)
    weights = np.full((2, 3), trust, np.float32)
    return [PseudoLabel(labels, weights, KEPT, 5, 0.9), PseudoLabel(labels + 1, 0 * weights, "too small", 6, 0.4)]


def test_labels_come_back_with_fractional_trust(workdir):
    workdir.save_labels("retrain", answers(), RECORD)
    read = workdir.load_labels("retrain")
    np.testing.assert_array_equal(read.labels[1], answers()[1].labels)
    assert read.labels.dtype == np.uint8
    np.testing.assert_array_equal(read.weights[0], np.float32(0.375))
    assert read.weights.dtype == np.float32
    assert read.kept.tolist() == [True, False]
    assert workdir.labelling_record("retrain") == RECORD
    assert sorted(p.name for p in (workdir.path / "labels").iterdir()) == ["retrain.json", "retrain.npz"]


@pytest.mark.parametrize("missing", ["retrain.npz", "retrain.json"])
def test_half_a_labelling_is_none(workdir, missing):
    assert workdir.labelling_record("retrain") is None
    workdir.save_labels("retrain", answers(), RECORD)
    (workdir.path / "labels" / missing).unlink()
    assert workdir.labelling_record("retrain") is None


def test_the_record_is_the_last_thing_written(workdir, monkeypatch):
    workdir.save_labels("retrain", answers(), RECORD)
    save = np.savez_compressed

    def spy(path, **arrays):
        assert workdir.labelling_record("retrain") is None, "new labels never stand beside an old record"
        save(path, **arrays)
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez_compressed", spy)
    with pytest.raises(OSError, match="disk full"):
        workdir.save_labels("retrain", answers(trust=1.0), RECORD)
    assert workdir.labelling_record("retrain") is None
    assert [p.name for p in (workdir.path / "labels").iterdir()] == ["retrain.npz"]


def test_json_that_cannot_be_written_leaves_the_old_file(tmp_path):
    path = tmp_path / "summary.json"
    write_json(path, {"dice": 0.5})
    before = path.read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"dice": float("nan")})
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["summary.json"]
