"""Volumes through the whole program: NIfTI files in, a trained network, scores, and NIfTI label maps out."""

import csv
import itertools
import json

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from fetal_jax import train as run
from fetal_jax.cli.main import main
from fetal_jax.core import config
from fetal_jax.core.types import Preempted, UserError
from fetal_jax.experiment import Experiment
from fetal_jax.inference import segmenter as segmenters
from fetal_jax.workdir import Workdir
from input_pipeline.builders.infant_mri import dummy
from input_pipeline.dataset import prepare

pytestmark = pytest.mark.slow

SPEC = "configs/adu_net.py:dataset=infant_mri,size=12"
SETTINGS = {
    "split.unit": "images",
    "split.labelled": 3,
    "split.validation": 1,
    "split.test": 2,
    "batch_size": 4,
    "patches.per_volume": 16,
    "evaluation.batch_size": 4,
    "model.width": 4,
    "model.depth": 1,
    "model.layers": 1,
    "stages.supervised.epochs": 3,
    "stages.supervised.learning_rate": 0.02,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Six subjects of 24 months, each file with its array axes in some other order."""
    folder, rng = tmp_path_factory.mktemp("infants"), np.random.default_rng(0)
    for subject, axes in enumerate(("RAS", "LPS", "PIR", "LIP", "SAR", "RAI")):
        labels, place = dummy.head(rng), folder / "24m" / f"S{subject:03d}"
        place.mkdir(parents=True)
        for modality in dummy.CONTRAST:
            dummy.write_volume(place / f"{modality}.nii.gz", dummy.image(labels, modality, rng), axes)
        dummy.write_volume(place / "labels.nii.gz", labels, axes)
    return folder


@pytest.fixture(scope="module")
def infants(folder, tmp_path_factory):
    """The data directory in which these infants are prepared."""
    path = tmp_path_factory.mktemp("prepared")
    prepare("infant_mri", path, str(folder))
    return path


@pytest.fixture(scope="module")
def whole(infants, tmp_path_factory):
    """A run that nobody disturbs."""
    workdir = tmp_path_factory.mktemp("runs") / "whole"
    overrides = [f"--config.{key}={value}" for key, value in SETTINGS.items()]
    command = ["--data-dir", str(infants), "train", "--config", SPEC, "--workdir", str(workdir), *overrides]
    assert main(command) == 0
    return workdir


def make(data_dir, spec=SPEC, **settings):
    values = {key: str(value) for key, value in (SETTINGS | settings).items()}
    return Experiment(config.load(spec, list(values.items())), data_dir)


def arrays_of(folder):
    with np.load(folder / "weights.npz") as arrays:
        return {name: arrays[name] for name in arrays}


def test_a_run_on_volumes_leaves_what_one_on_images_does(whole):
    summary = json.loads((whole / "summary.json").read_text())
    assert (summary["model"], summary["test"]["n_images"], summary["test"]["n_subjects"]) == ("adu_net", 2, 2)
    for average in ("per_image", "per_subject", "pooled"):
        assert set(summary["test"][average]["dice"]) == {"csf", "gm", "wm", "mean"}
        assert summary["test"][average]["dice"]["mean"] > 0.7
    with (whole / "per_image.csv").open() as file:
        rows = list(csv.DictReader(file))
    test = json.loads((whole / "splits.json").read_text())["parts"]["test"]
    assert [(row["name"], row["class"]) for row in rows] == [(n, c) for n in test for c in ("csf", "gm", "wm")]
    assert (whole / "report.html").read_text().count("data:image/jpeg") == 3  # the best, the median, the worst
    lines = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert sum(line["kind"] == "train" for line in lines) == 3 * 3 * 16 // 4
    assert [line["epoch"] for line in lines if line["kind"] == "validation"] == [2, 3]


def test_a_run_that_is_stopped_ends_in_the_same_bits(whole, infants, tmp_path):
    workdir, asked = Workdir(tmp_path / "broken"), iter([False] * 30 + [True] * 2)
    workdir.path.mkdir()
    with pytest.raises(Preempted):
        run.train(make(infants), workdir, lambda: next(asked))
    assert not workdir.stage_model("supervised").exists()
    assert json.loads((workdir.path / "metrics.jsonl").read_text().splitlines()[-1])["epoch"] == 3
    run.train(make(infants), workdir, lambda: False)
    found = arrays_of(workdir.stage_model("supervised"))
    for name, array in arrays_of(whole / "model").items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_predictions_of_files_are_those_that_were_scored(whole, folder, tmp_path):
    """In the voxels and the orientation of each file; what `evaluate` counted follows from them."""
    out = tmp_path / "labels"
    arguments = ["predict", "--workdir", str(whole), "--out", str(out), "--overlay", str(folder)]
    assert main(arguments) == 0
    with (whole / "per_image.csv").open() as file:
        scored = {(row["name"], row["class"]): float(row["dice"]) for row in csv.DictReader(file)}
    for (name, structure), dice in scored.items():
        reference = nibabel.load(folder / name.replace("_", "/", 1) / "labels.nii.gz")
        found = nibabel.load(out / f"{name}.nii.gz")
        np.testing.assert_array_equal(found.affine, reference.affine)
        assert found.get_data_dtype() == np.uint8
        value = ("background", "csf", "gm", "wm").index(structure)
        a, b = np.asarray(found.dataobj) == value, np.asarray(reference.dataobj) == value
        assert dice == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()), abs=1e-6)
    with (out / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6 * 3
    voxel_ml = np.prod(dummy.SPACING_MM) / 1000
    assert float(rows[0]["volume_ml"]) == pytest.approx(int(rows[0]["voxels"]) * voxel_ml, abs=1e-3)
    assert (out / "24m_S003_overlay.png").is_file()


def test_mirrored_predictions_are_averaged(whole, infants):
    assert main(["--data-dir", str(infants), "evaluate", "--workdir", str(whole), "--tta", "flips"]) == 0
    summary = json.loads((whole / "summary.json").read_text())
    assert summary["test_tta"]["pooled"]["dice"]["mean"] > 0.7
    assert summary["test_tta"]["pooled"]["dice"] != summary["test"]["pooled"]["dice"]


def test_volumes_are_chosen_for_cleaned_and_measured_too(whole, infants, folder, tmp_path):
    command = ["--data-dir", str(infants), "evaluate", "--workdir", str(whole)]
    assert main([*command, "--explain", "2"]) == 2
    assert main([*command, "--tta", "auto"]) == 0
    summary, details = (json.loads((whole / f"{name}.json").read_text()) for name in ("summary", "details"))
    assert (summary["tta"], summary["postprocess"]) == ("none", "none")
    reasons = [details["choices"][kind]["reason"] for kind in ("tta", "postprocess")]
    assert all("1 validation subjects are too few" in r or "nothing that was tried changes" in r for r in reasons)
    assert set(summary["test"]["per_image"]["hd95_mm"]) == {"csf", "gm", "wm", "mean"}
    assert not [name for name in ("features.csv", "biometry.csv") if (whole / name).exists()]
    assert main([*command, "--tta", "none", "--postprocess", "largest"]) == 0
    after = json.loads((whole / "summary.json").read_text())
    assert after["test"] == summary["test"]
    assert after["test_cleaned"]["pooled"]["dice"] != after["test"]["pooled"]["dice"]
    out = tmp_path / "labels"
    subject = str(folder / "24m" / "S000")
    assert main(["predict", "--workdir", str(whole), "--postprocess", "auto", "--out", str(out), subject]) == 0
    found = np.asarray(nibabel.load(next(out.glob("*.nii.gz"))).dataobj)
    assert [ndimage.label(found == i, np.ones((3, 3, 3)))[1] for i in (1, 2, 3)] == [1, 1, 1]


SELF_TRAINING = """
from configs import adu_net
from configs.common import STAGE

def get_config(argument=""):
    config = adu_net.get_config(argument)
    config.unlabelled_per_batch = 4
    (first,) = config.stages
    second = {"name": "retrain", "epochs": 2, "learning_rate": 0.01, "augment": "flips", "objective": "cross_entropy"}
    data = {"data": ("labelled", "unlabelled"), "pseudo_labeller": "threshold"}
    config.stages = [first, STAGE | second | data | {"method": {"name": "self_training", "consistency": 1.0}}]
    return config
"""
LABELLED = {
    "split.labelled": 2,
    "split.unlabelled": 1,
    "batch_size": 8,
    "patches.per_volume": 16,
    "pseudo_labels.threshold": 0.5,
    "stages.supervised.epochs": 4,
}


@pytest.fixture(scope="module")
def self_trained(infants, tmp_path_factory):
    """A run that labels a volume and is trained on it, too."""
    folder = tmp_path_factory.mktemp("self_training")
    (folder / "mine.py").write_text(SELF_TRAINING)
    overrides = [f"--config.{key}={value}" for key, value in (SETTINGS | LABELLED).items()]
    spec, workdir = f"{folder / 'mine.py'}:dataset=infant_mri,size=12", folder / "run"
    command = ["--data-dir", str(infants), "train", "--config", spec, "--workdir", str(workdir), *overrides]
    assert main(command) == 0
    return workdir


def test_volumes_without_labels_are_labelled_and_trained_on(self_trained, infants):
    """The labels are those of the first stage's network, in the volume's own voxels."""
    workdir = Workdir(self_trained)
    record = workdir.labelling_record("retrain")
    assert (record["labeller"], record["n_pool"], record["n_kept"]) == ("threshold", 1, 1)
    assert [path.name for path in (self_trained / "labels" / "retrain").iterdir()] == ["000000.npz"]
    experiment = Experiment(config.read(self_trained), infants)
    (name,) = experiment.splits.parts["unlabelled"]
    assert [image["name"] for image in record["images"]] == [name]
    volume = experiment.dataset[name]
    teacher = segmenters.load(workdir.stage_model("supervised"), batch_size=4)
    (probabilities,) = teacher.probabilities([volume.image])
    best, confidence = probabilities.argmax(-1), probabilities.max(-1)
    pseudo = workdir.load_labels("retrain")
    sure = confidence > 0.5
    assert 0.1 < sure.mean() <= 1
    np.testing.assert_array_equal(pseudo.labels[0], np.where(sure, best, 0))
    np.testing.assert_array_equal(pseudo.weights[0], sure.astype(np.float32))
    assert record["images"][0]["pixels"] == (pseudo.labels[0] > 0).sum()

    lines = [json.loads(line) for line in (self_trained / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["kind"] == "train"]
    assert [sum(line["stage"] == stage for line in steps) for stage in ("supervised", "retrain")] == [
        4 * 2 * 16 // 8,
        2 * (2 + 1) * 16 // 8,
    ]
    weights = [line["consistency_weight"] for line in steps if line["stage"] == "retrain"]
    assert all(0 < a < b <= 1 for a, b in itertools.pairwise(weights))
    assert all(line["consistency"] > 0 for line in steps if line["stage"] == "retrain")
    summary = json.loads((self_trained / "summary.json").read_text())
    assert summary["final_stage"] == "retrain"
    assert summary["test"]["per_image"]["dice"]["mean"] > 0.5
    assert "retrain" in (self_trained / "report.html").read_text()


def test_a_run_that_is_stopped_while_it_trains_on_labels_ends_in_the_same_bits(self_trained, infants, tmp_path):
    """The labels are read back, not made anew."""
    settings, workdir = config.read(self_trained), Workdir(tmp_path / "broken")
    # Asked after each of 16 steps and 4 epochs, once as the volume is labelled, and after 5 steps of the next stage.
    asked = iter([False] * (16 + 4 + 1 + 5))
    workdir.path.mkdir()
    with pytest.raises(Preempted):
        run.train(Experiment(settings, infants), workdir, lambda: next(asked, True))
    assert workdir.has_model("supervised")
    assert not workdir.has_model("retrain")
    assert json.loads((workdir.path / "metrics.jsonl").read_text().splitlines()[-1])["step"] == 16 + 6
    written = workdir.label("retrain", 0).stat().st_mtime_ns
    run.train(Experiment(settings, infants), workdir, lambda: False)
    assert workdir.label("retrain", 0).stat().st_mtime_ns == written
    for stage in ("supervised", "retrain"):
        ours, theirs = (arrays_of(path / "stages" / stage) for path in (workdir.path, self_trained))
        assert ours.keys() == theirs.keys()
        for name, array in theirs.items():
            np.testing.assert_array_equal(ours[name], array, err_msg=f"{stage} {name}")


def test_what_only_images_can_do_is_refused(whole, infants, capsys):
    def refused(*options):
        capsys.readouterr()
        assert main(["--data-dir", str(infants), "evaluate", "--workdir", str(whole), *options]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        return line

    assert "tta 'scales' is for images, this model takes volumes" in refused("--tta", "scales")
    assert "postprocess 'anatomy' is unknown for csf, gm, wm" in refused("--postprocess", "anatomy")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"stages.supervised.augment": "geometric"},
            "augment: augment 'geometric' is for images: on volumes it can be 'none' or 'flips' only",
        ),
        (
            {"stages.supervised.strong": "speckle"},
            "strong is 'speckle': on volumes it can be 'perturb' only",
        ),
        ({"intensity": "symmetric"}, "intensity is 'symmetric': on volumes it can be 'unit' only"),
        ({"evaluation.blur": 5}, r"evaluation\.blur is 5: on volumes it can be 0 only"),
        ({"sampling.structures": "wm"}, r"sampling\.structures is \('wm',\): on volumes"),
        ({"patches.per_volume": 0}, r"patches\.per_volume is 0"),
        ({"patches.foreground": 1.5}, r"patches\.foreground is 1\.5"),
    ],
)
def test_what_only_images_have_is_refused(infants, settings, message):
    with pytest.raises(UserError, match=message):
        make(infants, **settings)


def test_configs_of_images_and_of_volumes_are_told_apart(infants, data_dir):
    with pytest.raises(
        UserError, match=r"infant_mri has volumes and this config is for images: take configs/adu_net\.py"
    ):
        Experiment(config.load("configs/ss_case_unet.py:dataset=infant_mri"), infants)
    with pytest.raises(UserError, match=r"fetal_phantom/infant has volumes and this config is for images"):
        Experiment(config.load("configs/ss_case_unet.py:dataset=fetal_phantom/infant"), infants)
    with pytest.raises(UserError, match="fetal_phantom/tiny has images and this config draws patches of volumes"):
        Experiment(config.load("configs/adu_net.py:dataset=fetal_phantom/tiny"), data_dir)


def test_files_that_make_no_scan_are_refused(whole, folder, tmp_path, capsys):
    def refused(*paths, options=()):
        command = ["predict", "--workdir", str(whole), "--out", str(tmp_path / "out"), *options, *map(str, paths)]
        assert main(command) == 2
        assert not (tmp_path / "out").exists()
        return capsys.readouterr().err

    subject = folder / "24m" / "S000"
    assert "is one file and this model takes T1w and T2w together" in refused(subject / "T1w.nii.gz")
    assert "would both write S000.nii.gz" in refused(subject, subject)
    assert "--spacing is 1.0: a volume has its own" in refused(subject, options=("--spacing", "1"))
    assert "--ga-weeks is 24.0: nothing of a volume is judged by age" in refused(subject, options=("--ga-weeks", "24"))
    (tmp_path / "half").mkdir()
    assert "holds no scan for this model" in refused(tmp_path / "half")
    (tmp_path / "half" / "a_T1w.nii.gz").write_bytes((subject / "T1w.nii.gz").read_bytes())
    assert "has no a_T2w.nii.gz beside it" in refused(tmp_path / "half")
    (tmp_path / "half" / "a_T2w.nii.gz").write_bytes((folder / "24m" / "S001" / "T2w.nii.gz").read_bytes()[:100])
    assert "a_T2w.nii.gz is damaged" in refused(tmp_path / "half")
