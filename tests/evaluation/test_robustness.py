"""Robustness: a run whose network calls bright pixels foreground, every number by hand, and what is refused."""

import json
import pathlib

import numpy as np
import pytest
from planted import dataset, segmenter

from fetal_jax.cli.main import main
from fetal_jax.core import config
from fetal_jax.core.types import UserError, Variables
from fetal_jax.evaluation import robustness
from fetal_jax.evaluation.corruptions import CORRUPTIONS
from fetal_jax.evaluation.robustness import CLEAN, SETTINGS, CorruptedDice, over_seeds, summarise, table
from fetal_jax.experiment import Experiment
from fetal_jax.inference import segmenter as segmenters
from fetal_jax.statistics.reliability import icc_2_1
from fetal_jax.workdir import Workdir

SPLIT = {"split.labelled": 9, "split.unlabelled": 6, "split.validation": 3, "split.test": 6}


@pytest.fixture
def make_run(data_dir, tmp_path, small_network):
    """A workdir with a finished stage."""

    def make(name="run", finished=True, **changes):
        spec = "configs/ss_case_unet.py:dataset=fetal_phantom/tiny,size=32"
        settings = config.load(spec, [(key, str(value)) for key, value in (SPLIT | changes).items()])
        experiment, workdir = Experiment(settings, data_dir), Workdir(tmp_path / name)
        workdir.path.mkdir()
        workdir.claim(settings, experiment.splits, experiment.dataset.subjects)
        if finished:
            stage = experiment.stages[0].name
            segmenters.save(
                workdir.stage_model(stage), experiment.inference_config(stage), Variables({"w": np.zeros(1)}, {})
            )
        return workdir.path

    return make


def call(data_dir, *workdirs, arguments=()):
    paths = [word for workdir in workdirs for word in ("--workdir", str(workdir))]
    return main(["--data-dir", str(data_dir), "robustness", *paths, *arguments])


def measured(dice, subjects=("a", "a", "b"), workdir="run", names=None):
    """A run whose Dice is `dice` as it is, and 0.1 times the strength less under Gaussian noise, else the same."""
    dice = np.array(dice, float)
    of = {setting: dice - 0.001 * setting[1] * (setting[0] == "gaussian noise") for setting in (CLEAN, *SETTINGS)}
    names = names or tuple(f"image {i}" for i in range(len(dice)))
    return CorruptedDice(pathlib.Path(workdir), names, tuple(subjects), of)


def test_every_corruption_is_measured_at_every_strength():
    assert len(SETTINGS) == 35
    assert [name for name, _ in SETTINGS[::5]] == list(CORRUPTIONS)


def test_a_summary_by_hand():
    summary = summarise(measured([0.9, 0.8, 0.7]))
    assert (summary.n_images, summary.n_subjects) == (3, 2)
    assert summary.clean.dice == pytest.approx(0.8)
    assert summary.clean.low == pytest.approx(0.7)  # subject b drawn twice
    assert summary.clean.high == pytest.approx(0.85)  # subject a drawn twice
    assert summary.to_json()["perturbations"]["gaussian noise"][0] == {
        "strength": 10.0,
        "unit": "grey levels (SD)",
        "dice": pytest.approx(0.79),
        "low": pytest.approx(0.69),
        "high": pytest.approx(0.84),
        "drop": pytest.approx(0.01),
        "drop_low": pytest.approx(0.01),
        "drop_high": pytest.approx(0.01),
        "p": 1.0,  # two subjects show nothing: 0.5, times 35
        "n": 3,
    }
    assert summary.perturbations["rotation"][-1].drop == 0


@pytest.mark.slow
def test_the_p_of_a_drop_is_corrected_for_35_tests():
    """Nine subjects that all lose with noise: 2 / 2^9 by Wilcoxon. Nothing changes otherwise: 1."""
    run = measured(np.linspace(0.7, 0.9, 9), [str(i) for i in range(9)])
    noise, blur = (summarise(run).perturbations[name] for name in ("gaussian noise", "blur"))
    assert noise[0].p == pytest.approx(35 * 2 / 2**9, rel=0.01)
    assert blur[0].p == 1
    assert summarise(run).smallest_p == pytest.approx(noise[0].p)
    assert "too few subjects for p < 0.05: the smallest that they can show is 0.14" in table(summarise(run))


def test_an_undefined_dice_is_in_no_mean_and_its_number_is_told():
    summary = summarise(measured([0.9, np.nan, 0.7]))
    assert summary.perturbations["blur"][0].n == 2
    assert summary.clean.dice == pytest.approx(0.8)
    nothing = summarise(measured([np.nan], ["a"]))
    assert nothing.to_json()["clean"] == {"dice": None, "low": None, "high": None}
    assert "–" in table(nothing)
    json.dumps(nothing.to_json(), allow_nan=False)


def test_a_result_is_read_as_it_was_written(tmp_path):
    runs = [measured([0.9, np.nan, 0.7]), measured([0.8, 0.8, 0.5], workdir="other")]
    assert robustness.read(tmp_path) is None
    for result in (summarise(runs[0]), summarise(runs[0], over_seeds(runs)), summarise(measured([np.nan], ["a"]))):
        (tmp_path / robustness.FILE).write_text(json.dumps(result.to_json(), allow_nan=False))
        assert robustness.read(tmp_path).to_json() == result.to_json()


@pytest.mark.parametrize("text", ["{", "[]", '{"n_images": 3}', '{"n_images": 3, "clean": {"dice": 1, "spread": 2}}'])
def test_a_damaged_file_is_refused(tmp_path, text):
    (tmp_path / robustness.FILE).write_text(text)
    message = (
        r"robustness.json(: is not a robustness result.*| is damaged) ?\(.*\): run fetal-jax robustness on it again"
    )
    with pytest.raises(UserError, match=message):
        robustness.read(tmp_path)


def test_the_spread_over_seeds_by_hand():
    runs = [measured([0.9, 0.8, 0.7]), measured([0.8, 0.8, 0.5], workdir="other")]
    spread = over_seeds(runs)
    assert spread.workdirs == ("run", "other")
    assert spread.clean.mean == pytest.approx(0.75)
    assert spread.clean.sd == pytest.approx(0.1 / np.sqrt(2))
    assert spread.clean.icc == pytest.approx(icc_2_1(np.array([[0.85, 0.8], [0.7, 0.5]]))[0])
    assert spread.perturbations["gaussian noise"][0].mean == pytest.approx(0.74)
    assert "over 2 seeds" in table(summarise(runs[0], spread))


def test_an_image_that_one_seed_leaves_undefined_is_in_no_mean_over_seeds():
    spread = over_seeds([measured([0.9, 0.8, 0.7]), measured([0.8, np.nan, 0.5])])
    assert spread.clean.mean == pytest.approx((0.8 + 0.65) / 2)


def test_seeds_need_one_split():
    runs = [measured([0.9, 0.8, 0.7]), measured([0.8, 0.8, 0.5], workdir="other", names=("image 0", "image 1", "x"))]
    with pytest.raises(UserError, match=r"other was tested on other images than run \(such as image 2\)"):
        over_seeds(runs)


@pytest.mark.slow
@pytest.mark.usefixtures("bright_is_foreground")
def test_a_run_is_scored_and_the_file_is_where_the_report_looks(make_run, data_dir, capsys):
    workdir = make_run()
    assert call(data_dir, workdir, arguments=["--limit", "3"]) == 0
    summary = robustness.read(workdir)
    assert summary.n_images == 3
    assert list(summary.perturbations) == list(CORRUPTIONS)
    assert all(len(rows) == 5 for rows in summary.perturbations.values())
    assert 0 < summary.clean.dice < 1
    shadows = [row.drop for row in summary.perturbations["shadow"]]
    assert max(shadows) > 0  # what is dark is not called foreground
    printed = capsys.readouterr().out
    assert f"written: {workdir / 'robustness.json'}" in printed
    assert printed.count("gaussian noise, ") == 5


@pytest.mark.slow
@pytest.mark.usefixtures("bright_is_foreground")
def test_two_equal_runs_have_no_spread_and_agree_fully(make_run, data_dir):
    workdirs = [make_run("one"), make_run("two")]
    assert call(data_dir, *workdirs, arguments=["--limit", "4"]) == 0  # of two subjects
    files = [json.loads((workdir / "robustness.json").read_text()) for workdir in workdirs]
    assert files[0] == files[1]
    assert files[0]["n_subjects"] == 2
    assert files[0]["seeds"]["clean"]["sd"] == 0
    assert files[0]["seeds"]["clean"]["icc"] == 1


@pytest.mark.slow
@pytest.mark.usefixtures("bright_is_foreground")
def test_out_takes_the_file_elsewhere(make_run, data_dir, tmp_path):
    workdir, out = make_run(), tmp_path / "out.json"
    assert call(data_dir, workdir, arguments=["--limit", "1", "--out", str(out)]) == 0
    assert json.loads(out.read_text())["n_images"] == 1
    assert not (workdir / "robustness.json").exists()


def refusal(capsys):
    error = capsys.readouterr().err
    assert error.startswith("fetal-jax: ")
    assert error.count("\n") == 1
    return error


@pytest.mark.slow
def test_what_is_no_run_is_refused(make_run, data_dir, tmp_path, capsys):
    assert call(data_dir, tmp_path / "nowhere") == 2
    assert "is not a workdir (no config.json)" in refusal(capsys)
    assert call(data_dir, make_run(finished=False)) == 2
    assert "has no finished stage: run fetal-jax train with this --workdir first" in refusal(capsys)


def test_runs_that_differ_in_more_than_their_seed_are_refused(make_run, data_dir, capsys):
    workdirs = [make_run("one"), make_run("two", seed=1, log_every=4)]
    assert call(data_dir, *workdirs) == 2
    assert "two differs from" in (told := refusal(capsys))
    assert "in log_every: the spread needs runs that differ in nothing but their seed" in told


def test_a_run_on_volumes_is_refused():
    volumes = dataset(("background", "wm"), dims=3)
    with pytest.raises(UserError, match="runs/a is a run on volumes: corruptions are of images, give a run on images"):
        robustness.measure(pathlib.Path("runs/a"), volumes, segmenter(("background", "wm"), 8))


@pytest.mark.parametrize(
    "arguments", [["--limit", "0"], ["--out", "nowhere/file.json"], ["--out", "."], ["--workdir", "runs/../runs/a"]]
)
def test_arguments_that_make_no_sense_are_refused(arguments, tmp_path, capsys):
    assert call(tmp_path, "runs/a", arguments=arguments) == 2
    assert arguments[0] in refusal(capsys)
