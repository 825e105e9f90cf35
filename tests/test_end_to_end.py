"""The whole path through the command line, on the tiny phantom: one run left alone, one that everything happens to."""

import contextlib
import csv
import dataclasses
import functools
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import cv2
import jax
import numpy as np
import pytest

import fetal_jax
from fetal_jax.cli.main import main
from fetal_jax.evaluation.explain.explanations import Explainer
from fetal_jax.inference import predictor as predictors
from fetal_jax.inference import segmenter as segmenters
from fetal_jax.reporting import gallery
from input_pipeline.dataset import Dataset
from input_pipeline.splits import Splits

pytestmark = pytest.mark.slow

# A small network: what is tested is the program around it. The published one runs in the quickstart and the proofs.
CONFIG = "configs/ss_case_unet.py:dataset=fetal_phantom/tiny,size=32,labeller=naive,model=plain_unet"
SETTINGS = {
    "model.width": 8,
    "model.depth": 2,
    "split.labelled": 8,
    "split.unlabelled": 6,
    "split.validation": 3,
    "split.test": 3,
    "batch_size": 8,
    "unlabelled_per_batch": 4,
    "evaluation.batch_size": 4,
    "validate_every": 1,
    "stages.decoder.epochs": 2,
    "stages.fine_tune.epochs": 4,
    "stages.retrain.epochs": 4,
}
# What a full disk looks like to a process: no file can grow beyond 64 kB (a checkpoint has more than a megabyte).
FULL_DISK = ("bash", "-c", 'ulimit -f 64; exec "$@"', "bash")


def arguments(workdir, data_dir, settings=SETTINGS):
    """Of `fetal-jax`, to train."""
    overrides = [f"--config.{key}={value}" for key, value in settings.items()]
    return ["--data-dir", str(data_dir), "train", "--config", CONFIG, "--workdir", str(workdir), *overrides]


def start(workdir, data_dir, prefix=()):
    """Trains in a process of its own, which can be killed."""
    command = [*prefix, sys.executable, "-m", "fetal_jax", *arguments(workdir, data_dir)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


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
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main(arguments(workdir, data_dir)) == 0
    assert out.getvalue().startswith("DECODER → FINE_TUNE → LABEL → RETRAIN → DONE\n")
    return workdir


def test_a_run_leaves_what_it_promises(whole):
    formats = {"config.json": 2, "summary.json": 1, "details.json": 1, "splits.json": 1, "labels/retrain.json": 1}
    for name, number in (formats | {"model/model.json": 1}).items():
        assert json.loads((whole / name).read_text())["format"] == number, name
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
    assert [image["name"] for image in record["images"]] == splits["parts"]["unlabelled"]
    assert sorted(p.name for p in (whole / "labels" / "retrain").iterdir()) == [f"{i:06d}.npz" for i in range(6)]
    settings = json.loads((whole / "config.json").read_text())
    assert (settings["format"], [stage["name"] for stage in settings["stages"]]) == (2, list(summary["stages"]))
    lines = list(map(json.loads, (whole / "metrics.jsonl").read_text().splitlines()))
    logged = {line["stage"]: set(line) for line in lines if line["kind"] == "train"}
    assert {"loss", "supervised", "learning_rate", "update_norm"} <= logged["decoder"] == logged["fine_tune"]
    assert logged["retrain"] == logged["decoder"] | {"consistency", "consistency_weight"}


@pytest.fixture
def copied(whole, tmp_path):
    """The same run, to be evaluated by networks that are not its own."""
    return shutil.copytree(whole, tmp_path / "copied", ignore=shutil.ignore_patterns("checkpoints"))


@pytest.fixture
def seeing(monkeypatch):
    """After a few steps a network finds nothing. Here each finds what is brighter than a grey value of its own."""

    def predict(variables, images):
        total = sum(float(np.sum(leaf)) for leaf in jax.tree.leaves(variables.params))
        foreground = np.clip(0.5 + 3 * (images - 0.25 - 0.1 * (total % 1)), 0, 1)
        return np.concatenate([1 - foreground, foreground], -1)

    monkeypatch.setattr(segmenters, "make_predict", lambda model, mesh: predict)


def test_evaluate_says_the_same_as_train_and_adds_flips(whole, data_dir, capsys):
    before = json.loads((whole / "summary.json").read_text())
    assert main(["--data-dir", str(data_dir), "evaluate", "--workdir", str(whole), "--tta", "flips"]) == 0
    after = json.loads((whole / "summary.json").read_text())
    assert "test_tta" in after
    assert after["test"] == before["test"]
    assert "retrain + flips dice" in capsys.readouterr().out


def test_what_is_chosen_on_validation_is_told_and_the_worst_images_are_explained(copied, data_dir, seeing, monkeypatch):
    # Of the ways to explain the one that compiles soonest; the others are in evaluation/test_explain.py.
    monkeypatch.setattr(gallery, "Explainer", functools.partial(Explainer, methods=("grad_cam",)))
    command = ["--data-dir", str(data_dir), "evaluate", "--workdir", str(copied)]
    assert main([*command, "--tta", "auto", "--explain", "2"]) == 0
    summary, details = (json.loads((copied / f"{name}.json").read_text()) for name in ("summary", "details"))
    assert (summary["tta"], summary["postprocess"]) == ("none", "none")
    assert {"test_tta", "test_cleaned"} & set(summary) == set()
    for kind, number in (("tta", 5), ("postprocess", 5)):
        choice = details["choices"][kind]
        assert choice["chosen"] == "none"
        assert len(choice["candidates"]) == number
        assert "too few to show" in choice["reason"] or "nothing that was tried changes" in choice["reason"]
    report = (copied / "report.html").read_text()
    assert report.count("Grad-CAM, ") >= 2
    assert summary["test"]["defined"]["hd95_mm"] == summary["test"]["defined"]["dice"]
    assert summary["intervals"]["per_image"]["dice"]["mean"] is None  # of one subject
    assert 0 < details["curves"]["cerebellum"]["roc"]["auc"] < 1
    assert set(details["biometry"]["measures"]) == {"tcd_mm"}
    card = json.loads((copied / "model" / "model.json").read_text())
    assert (card["tta"], card["postprocess"], card["intervals_mm"]) == ("none", "none", {})
    rows = read_csv(copied / "biometry.csv"), read_csv(copied / "features.csv")
    assert [len(table) for table in rows] == [3, 2 * 3]  # the head, of which nothing is known, and the cerebellum
    assert [row["name"] for row in rows[0]] == json.loads((copied / "splits.json").read_text())["parts"]["test"]


def read_csv(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_predict_answers_as_the_last_evaluation_did(copied, data_dir, tmp_path, seeing):
    """What was told to be done to the answers is written down, and `auto` finds it there."""
    command = ["--data-dir", str(data_dir), "evaluate", "--workdir", str(copied)]
    assert main([*command, "--tta", "horizontal", "--postprocess", "largest"]) == 0
    summary = json.loads((copied / "summary.json").read_text())
    assert (summary["tta"], summary["postprocess"]) == ("horizontal", "largest")
    assert summary["test_cleaned"]["pooled"]["precision"]["mean"] >= summary["test_tta"]["pooled"]["precision"]["mean"]
    record = Dataset("fetal_phantom/tiny", data_dir, ["cerebellum"])[read_csv(copied / "per_image.csv")[0]["name"]]
    cv2.imwrite(str(tmp_path / "head.png"), record.image)
    masks = {}
    for name in ("auto", "none"):
        out = tmp_path / name
        options = ["--tta", name, "--postprocess", name, str(tmp_path / "head.png")]
        assert main(["predict", "--workdir", str(copied), "--out", str(out), *options]) == 0
        masks[name] = cv2.imread(str(out / "head.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(
        masks["auto"], predictors.load([copied], "horizontal", "largest")(record.image).labels
    )
    np.testing.assert_array_equal(masks["none"], predictors.load([copied])(record.image).labels)
    assert cv2.connectedComponents(masks["auto"])[0] <= 2
    found = read_csv(copied / "features.csv")[1]
    assert (found["structure"], int(found["area_px"])) == ("cerebellum", int((masks["auto"] == 1).sum()))
    assert main([*command, "--tta", "none", "--postprocess", "none"]) == 0
    after = json.loads((copied / "summary.json").read_text())
    assert {"test_tta", "test_cleaned"} & set(after) == set()
    assert after["test"] == summary["test"]


@pytest.fixture(scope="module")
def unfinished(whole, data_dir, tmp_path_factory):
    """The same run before it was trained on pseudo-labels, and evaluated."""
    workdir = tmp_path_factory.mktemp("unfinished") / "unfinished"
    shutil.copytree(whole, workdir)
    shutil.rmtree(workdir / "stages" / "retrain")
    assert main(["--data-dir", str(data_dir), "evaluate", "--workdir", str(workdir), "--postprocess", "none"]) == 0
    return workdir


def test_a_run_that_has_not_finished_says_so(unfinished, capsys):
    summary = json.loads((unfinished / "summary.json").read_text())
    assert (summary["final_stage"], list(summary["stages"])) == ("fine_tune", ["decoder", "fine_tune"])
    assert "The run has not finished: these are the scores of stage fine_tune." in summary["warnings"]


def test_runs_are_compared_image_by_image(whole, unfinished, tmp_path, capsys):
    capsys.readouterr()
    page = tmp_path / "page.html"
    assert main(["compare", str(unfinished), str(whole), "--out", str(page)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "dice of 3 test images of 1 subjects"
    assert lines[2].startswith("whole against unfinished")
    assert "<html" in page.read_text()
    means = [json.loads((run / "summary.json").read_text())["test"]["per_image"]["dice"] for run in (unfinished, whole)]
    assert all(f"{mean['cerebellum']:.4f}" in lines[4] for mean in means)
    assert main(["compare", str(unfinished), str(whole), "--metric", "hd95_mm", "--out", str(page)]) == 0


def test_an_ensemble_is_scored_beside_the_run_itself(copied, unfinished, data_dir, tmp_path, seeing):
    command = ["--data-dir", str(data_dir), "evaluate", "--workdir", str(copied), "--postprocess", "none"]
    assert main(command) == 0
    before = json.loads((copied / "summary.json").read_text())["test"]
    assert main([*command, "--ensemble", str(unfinished)]) == 0
    summary = json.loads((copied / "summary.json").read_text())
    assert summary["test"] == before
    dataset = Dataset("fetal_phantom/tiny", data_dir, ["cerebellum"])
    records = list(dataset.records(json.loads((copied / "splits.json").read_text())["parts"]["test"]))
    together = predictors.load([copied, unfinished])
    pairs = [(together(record.image).labels == 1, record.labels == 1) for record in records]
    dice = [2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in pairs]
    assert summary["test_ensemble"]["per_image"]["dice"]["mean"] == pytest.approx(np.mean(dice), abs=1e-9)
    assert summary["test_ensemble"]["per_image"]["dice"]["mean"] != before["per_image"]["dice"]["mean"] > 0
    cv2.imwrite(str(tmp_path / "head.png"), records[0].image)
    out = ["--out", str(tmp_path / "masks"), str(tmp_path / "head.png")]
    assert (
        main(["predict", "--workdir", str(copied), "--ensemble", str(unfinished), "--postprocess", "auto", *out]) == 0
    )
    mask = cv2.imread(str(tmp_path / "masks" / "head.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(mask, together(records[0].image).labels)


def test_what_cannot_be_evaluated_or_compared_is_told_in_a_line(whole, unfinished, data_dir, tmp_path, capsys):
    """And the run is left as it was."""

    def refused(*arguments):
        capsys.readouterr()
        assert main(["--data-dir", str(data_dir), *map(str, arguments)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    before = {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()}
    other = tmp_path / "other"
    shutil.copytree(whole, other)
    splits = Splits.load(whole / "splits.json")
    test, pool = splits.parts["test"], splits.parts["unlabelled"]
    dealt = dataclasses.replace(splits, parts=splits.parts | {"test": pool[:3], "unlabelled": (*test, *pool[3:])})
    dealt.save(other / "splits.json")
    table = (other / "per_image.csv").read_text()
    for old, new in zip(test, pool, strict=False):
        table = table.replace(old, new)
    (other / "per_image.csv").write_text(table)

    line = refused("compare", whole, other)
    assert all(name in line for name in (*test, *pool[:3]))
    assert "compare runs of" in line
    assert "of the test images: leave it out" in refused("evaluate", "--workdir", whole, "--ensemble", other)
    assert f"{tmp_path / 'no'}" in refused("evaluate", "--workdir", whole, "--ensemble", tmp_path / "no")
    assert "is not how this dataset is dealt any more" in refused("evaluate", "--workdir", other)
    assert "tta 'sideways' is unknown" in refused("evaluate", "--workdir", whole, "--tta", "sideways")
    assert "postprocess 'polish' is unknown" in refused("evaluate", "--workdir", whole, "--postprocess", "polish")
    assert "is not in" in refused("compare", unfinished, whole, "--metric", "dise")
    shutil.rmtree(other / "stages")
    splits.save(other / "splits.json")
    assert "other has no finished stage: run fetal-jax train" in refused("evaluate", "--workdir", other)
    (other / "summary.json").unlink()
    assert "other has no summary.json: run fetal-jax evaluate" in refused("compare", whole, other)
    after = {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()}
    assert {path.name for path in after if after[path] != before.get(path)} == set()


def test_predict_writes_masks_of_the_images_own_size(whole, tmp_path):
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
    assert "the previous checkpoint is whole" in err
    assert "Traceback" not in err
    assert set(bundles) <= {path.name for path in (workdir / "checkpoints" / "latest").iterdir()}

    process = start(workdir, data_dir)
    wait_for_steps(process, workdir, "retrain", 3)
    process.send_signal(signal.SIGKILL)
    finish(process)

    assert main(arguments(workdir, data_dir)) == 0
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


def test_a_loss_that_is_not_a_number_stops_the_run(data_dir, tmp_path, capfd):
    settings = SETTINGS | {"stages.fine_tune.learning_rate": 1e30}
    assert main(arguments(tmp_path / "run", data_dir, settings)) == 2
    err = capfd.readouterr().err
    last = err.splitlines()[-1]
    assert last.startswith("fetal-jax: the ")
    assert "in stage fine_tune: lower stages.fine_tune.learning_rate" in last
    assert "Traceback" not in err
    assert (tmp_path / "run" / "stages" / "decoder" / "weights.npz").exists()
    assert os.listdir(tmp_path / "run" / "checkpoints" / "latest")


def test_a_labeller_that_keeps_nothing_is_told_and_the_run_goes_on(data_dir, tmp_path, capfd):
    settings = SETTINGS | {"stages.retrain.pseudo_labeller": "threshold", "pseudo_labels.threshold": 0.999999}
    settings |= {"stages": "decoder,retrain", "stages.retrain.epochs": 1, "evaluation.blur": 0}
    assert main(arguments(tmp_path / "run", data_dir, settings)) == 0
    out, err = capfd.readouterr()
    assert "6 images, 0 kept: this stage goes on with the labelled images alone" in err
    assert "note: The labeller kept none of 6 images" in out
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert any("kept none" in warning for warning in summary["warnings"])
    assert any("evaluation.blur is 0, but the last stage trained with a blur of 5" in w for w in summary["warnings"])
    assert "kept none of 6 images" in (tmp_path / "run" / "report.html").read_text()
