"""The whole path through the command line, on the tiny phantom: one run left alone, one that everything happens to."""

import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
import time

import cv2
import numpy as np
import pytest

CONFIG = "configs/ss_case_unet.py:dataset=fetal_phantom/tiny,size=32,labeller=naive"
SETTINGS = {
    "split.labelled": 8,
    "split.unlabelled": 6,
    "split.validation": 3,
    "split.test": 3,
    "batch_size": 8,
    "unlabelled_per_batch": 4,
    "evaluation.batch_size": 4,
    "validate_every": 1,
    "stages.decoder.epochs": 2,
    "stages.fine_tune.epochs": 6,
    "stages.retrain.epochs": 6,
}
# What a full disk looks like to a process: no file can grow beyond 1 MB (a checkpoint is 80 MB).
FULL_DISK = ("bash", "-c", 'ulimit -f 1024; exec "$@"', "bash")


def start(workdir, data_dir, settings=SETTINGS, prefix=()):
    """`fetal-jax train` in a process of its own."""
    overrides = [f"--config.{key}={value}" for key, value in settings.items()]
    command = [*prefix, sys.executable, "-m", "fetal_jax", "--data-dir", str(data_dir)]
    command += ["train", "--config", CONFIG, "--workdir", str(workdir), *overrides]
    pipe = subprocess.PIPE
    flags = os.environ["XLA_FLAGS"].replace("device_count=4", "device_count=1")  # four devices: test_steps
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=os.environ | {"XLA_FLAGS": flags})


def finish(process):
    """Exit code, stdout, stderr."""
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def wait_for_steps(process, workdir, stage, steps):
    """Returns when the run has written that many training steps of a stage."""
    path = workdir / "metrics.jsonl"
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        lines = path.read_text().split("\n")[:-1] if path.exists() else []
        if sum(line["kind"] == "train" and line["stage"] == stage for line in map(json.loads, lines)) >= steps:
            return
        time.sleep(0.01)
    raise AssertionError(f"{stage} never took {steps} steps: {process.communicate()}")


def arrays_of(workdir, stage):
    with np.load(workdir / "stages" / stage / "weights.npz") as arrays:
        return {name: hashlib.sha256(arrays[name].tobytes()).hexdigest() for name in arrays}


@pytest.fixture(scope="module")
def whole(tmp_path_factory, data_dir):
    """A run that nobody disturbs."""
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    code, out, err = finish(start(workdir, data_dir))
    assert code == 0, err
    assert out.startswith("DECODER → FINE_TUNE → LABEL → RETRAIN → DONE\n")
    return workdir


def test_a_run_leaves_what_it_promises(whole):
    summary = json.loads((whole / "summary.json").read_text())
    assert summary["test"]["n_images"] == 3
    assert set(summary["stages"]) == {"decoder", "fine_tune", "retrain"}
    for kind in ("per_image", "per_subject", "pooled"):
        for metric in ("accuracy", "precision", "recall", "jaccard", "dice"):
            assert set(summary["test"][kind][metric]) == {"cerebellum", "mean"}
    with (whole / "per_image.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == ["cerebellum"] * 3
    splits = json.loads((whole / "splits.json").read_text())
    assert sorted(row["name"] for row in rows) == splits["parts"]["test"]
    assert json.loads((whole / "model" / "model.json").read_text())["splits_hash"] == splits["hash"]
    assert "<html" in (whole / "report.html").read_text()
    assert any(path.name.startswith("events.") for path in whole.iterdir())
    record = json.loads((whole / "labels" / "retrain.json").read_text())
    assert (record["labeller"], record["n_pool"], record["n_kept"]) == ("naive", 6, 6)


def test_evaluate_says_the_same_as_train_and_adds_flips(whole, data_dir, capsys):
    from fetal_jax.cli import main

    before = json.loads((whole / "summary.json").read_text())
    assert main(["--data-dir", str(data_dir), "evaluate", "--workdir", str(whole), "--tta"]) == 0
    after = json.loads((whole / "summary.json").read_text())
    assert "test_tta" in after
    assert after["test"] == before["test"]
    assert "retrain + flips dice" in capsys.readouterr().out


def test_predict_writes_masks_of_the_images_own_size(whole, tmp_path):
    import fetal_jax
    from fetal_jax.cli import main

    image = np.random.default_rng(0).integers(0, 256, (70, 91), np.uint8)
    cv2.imwrite(str(tmp_path / "head.png"), image)
    out = tmp_path / "masks"
    assert main(["predict", "--workdir", str(whole), "--out", str(out), "--overlay", str(tmp_path / "head.png")]) == 0
    mask = cv2.imread(str(out / "head.png"), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (70, 91)
    assert np.array_equal(mask, fetal_jax.load(str(whole))(image).labels)
    assert (out / "head_overlay.png").exists()
    assert (out / "predictions.csv").exists()


def test_a_run_that_everything_happens_to_ends_in_the_same_bits(whole, data_dir, tmp_path):
    """SIGTERM, a full disk, SIGKILL: each leaves a whole checkpoint, and the end is the same."""
    workdir = tmp_path / "broken"
    process = start(workdir, data_dir)
    wait_for_steps(process, workdir, "fine_tune", 2)
    process.send_signal(signal.SIGTERM)
    code, _, err = finish(process)
    assert code == 75, err
    assert "run the same command again" in err

    bundles = sorted(path.name for path in (workdir / "checkpoints" / "latest").iterdir())
    code, _, err = finish(start(workdir, data_dir, prefix=FULL_DISK))
    assert code == 2, err
    assert "the previous checkpoint is whole" in err.splitlines()[-1]
    assert "Traceback" not in err
    assert set(bundles) <= {path.name for path in (workdir / "checkpoints" / "latest").iterdir()}

    process = start(workdir, data_dir)
    wait_for_steps(process, workdir, "retrain", 3)
    process.send_signal(signal.SIGKILL)
    finish(process)

    code, _, err = finish(start(workdir, data_dir))
    assert code == 0, err
    for stage in ("decoder", "fine_tune", "retrain"):
        assert arrays_of(workdir, stage) == arrays_of(whole, stage)
    assert scores_of(workdir) == scores_of(whole)
    assert losses_of(workdir) == losses_of(whole)


def scores_of(workdir):
    summary = json.loads((workdir / "summary.json").read_text())
    return summary["stages"]


def losses_of(workdir):
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [(line["step"], line["loss"]) for line in lines if line["kind"] == "train"]


def test_a_loss_that_is_not_a_number_stops_the_run(data_dir, tmp_path):
    settings = SETTINGS | {"stages.fine_tune.learning_rate": 1e30}
    code, _, err = finish(start(tmp_path / "run", data_dir, settings))
    assert code == 2
    last = err.splitlines()[-1]
    assert last.startswith("fetal-jax: the ")
    assert "in stage fine_tune: lower stages.fine_tune.learning_rate" in last
    assert "Traceback" not in err
    assert (tmp_path / "run" / "stages" / "decoder" / "weights.npz").exists()
    assert os.listdir(tmp_path / "run" / "checkpoints" / "latest")


def test_a_labeller_that_keeps_nothing_is_told_and_the_run_goes_on(data_dir, tmp_path):
    settings = SETTINGS | {"stages.retrain.labeller": "threshold", "labelling.threshold": 0.999999}
    settings |= {"protocol": "decoder,retrain", "stages.retrain.epochs": 1, "evaluation.blur": 0}
    code, out, err = finish(start(tmp_path / "run", data_dir, settings))
    assert code == 0, err
    assert "6 images, 0 kept: this stage goes on with the labelled images alone" in err
    assert "note: The labeller kept none of 6 images" in out
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert any("kept none" in warning for warning in summary["warnings"])
    assert any("evaluation.blur is 0, but the last stage trained with a blur of 5" in w for w in summary["warnings"])
    assert "kept none of 6 images" in (tmp_path / "run" / "report.html").read_text()
