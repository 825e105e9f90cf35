"""The two programs about augmentation: the verdict and the ratios, by hand."""

import numpy as np
import pytest

from benchmarks import input as benchmark
from experiments import ultrasound_augmentation as experiment


def scores(baseline, tried, subjects=("a", "a", "b")):
    return experiment.Scores(subjects, {"old": np.array(baseline), "new": np.array(tried)})


def test_the_interval_is_student_s():
    """1, 2, 3: mean 2, standard error 1 / sqrt(3), t of 2 degrees of freedom 4.3027."""
    np.testing.assert_allclose(experiment.interval(np.array([1.0, 2.0, 3.0])), (2 - 2.4841, 2 + 2.4841), atol=1e-3)
    assert experiment.interval(np.array([0.1])) == (-1.0, 1.0)


def test_differences_are_paired_by_seed_image_and_subject():
    result = experiment.compare(
        scores([[0.5, 0.7, 0.9], [0.6, 0.6, 0.8]], [[0.6, 0.7, 0.9], [0.8, 0.6, 0.9]]), "old", "new"
    )
    np.testing.assert_allclose(result["differences"], [0.1 / 3, 0.1])
    assert result["mean"] == pytest.approx((0.1 / 3 + 0.1) / 2)
    np.testing.assert_allclose(result["over_seeds"], experiment.interval(np.array([0.1 / 3, 0.1])))
    np.testing.assert_allclose(result["over_subjects"], experiment.interval(np.array([0.075, 0.05])))
    assert (result["n_images"], result["n_subjects"]) == (3, 2)


@pytest.mark.parametrize(
    ("over_seeds", "over_subjects", "verdict"),
    [
        ((0.01, 0.03), (0.005, 0.035), "new helps:"),
        ((-0.03, -0.01), (-0.04, -0.002), "new harms:"),
        ((0.01, 0.03), (-0.001, 0.04), "new makes no difference that this could show:"),
        ((-0.01, 0.05), (0.01, 0.03), "new makes no difference that this could show:"),
        ((-1.0, 1.0), (0.01, 0.03), "new makes no difference that this could show:"),
    ],
)
def test_a_difference_needs_both_intervals(over_seeds, over_subjects, verdict):
    result = {"mean": 0.02, "differences": [0.02] * 4, "n_images": 9, "n_subjects": 7}
    said = experiment.sentence(result | {"over_seeds": over_seeds, "over_subjects": over_subjects}, "old", "new")
    assert said.startswith(verdict)
    assert "9 test images of 7 subjects" in said
    assert "over 4 seeds" in said


def test_an_image_without_a_dice_is_left_out_of_every_run(tmp_path):
    rows = "name,subject,class,dice\nx,s,a,0.5\nx,s,b,0.7\ny,s,a,\ny,s,b,\nz,t,a,0.25\nz,t,b,\n"
    (tmp_path / "per_image.csv").write_text(rows)
    table = experiment.read_dice(tmp_path)
    assert table == {("s", "x"): 0.6, ("t", "z"): 0.25}
    gathered = experiment.gather({"old": [table], "new": [{("s", "x"): 0.8}]})
    assert gathered.subjects == ("s",)
    np.testing.assert_allclose(gathered.dice["new"] - gathered.dice["old"], [[0.2]])


def test_ratios_are_those_of_each_round():
    speeds = {"ours": [10, 40, 30, 80, 50, 60], "memory": [5, 10, 10, 20, 10, 10]}
    found = benchmark.ratios(speeds)["memory"]  # 2 4 3 4 5 6
    assert found == {"median": 4.0, "low": 2.0, "high": 6.0}


def test_sides_run_in_turns_and_the_first_changes():
    calls = []

    def side(name):
        return lambda seconds: calls.append((name, seconds)) or 1.0

    speeds = benchmark.interleaved({"ours": side("ours"), "peer": side("peer")}, 2, 3.0)
    assert speeds == {"ours": [1.0, 1.0], "peer": [1.0, 1.0]}
    assert calls == [("ours", 1.5), ("peer", 1.5), ("peer", 3.0), ("ours", 3.0), ("ours", 3.0), ("peer", 3.0)]
