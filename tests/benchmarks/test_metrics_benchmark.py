"""The benchmark of surface metrics: what is measured, against what, and what it says."""

import json
import os
import sys
import textwrap

import numpy as np
import pytest

from benchmarks import metrics as program
from benchmarks.metrics_peer import CASES, masks
from fetal_jax.core.types import UserError

TINY = ["--height", "27", "--width", "40", "--repeats", "6", "--seconds", "0", "--threads", "1"]
FAKES = {
    "torch.py": """
        from numpy import ndarray
        def from_numpy(array):
            return array
        def set_num_threads(n):
            pass
    """,
    "monai/metrics.py": """
        def compute_hausdorff_distance(prediction, labels, percentile):
            assert prediction.shape == labels.shape == (1, 2, 27, 40)
            assert percentile == 95
            return {hd95}
        def compute_average_surface_distance(prediction, labels):
            return {asd}
    """,
}


@pytest.fixture
def peer(tmp_path, monkeypatch):
    """A peer environment: this Python with a MONAI that answers what it is told."""
    monkeypatch.setattr(program, "pin", lambda threads: [0])  # other tests keep their cores
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def make(hd95, asd):
        for name, text in FAKES.items():
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(textwrap.dedent(text).format(hd95=hd95, asd=asd))
        for name in ("monai", "torch", "numpy", "scipy"):
            folder = tmp_path / f"{name}-9.8.7.dist-info"
            folder.mkdir()
            (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 9.8.7\n")
        return ["--peer-python", sys.executable, *TINY]

    return make


def test_the_head_fills_two_fifths_of_the_frame_and_is_found_a_little_off():
    prediction, labels = masks("head", 540, 800)
    assert labels.mean() == pytest.approx(0.4, abs=0.005)
    assert 0.01 < (prediction ^ labels).mean() < 0.03
    rugged, same = masks("rugged", 540, 800)
    assert (rugged ^ prediction).mean() == pytest.approx(0.02, abs=0.001)
    np.testing.assert_array_equal(same, labels)


def test_ours_is_every_metric_in_both_units():
    assert len(program.our_run("head", 27, 40)()) == 10


@pytest.mark.slow
def test_both_sides_are_measured_and_told(peer, tmp_path, capsys):
    ours = program.our_run("head", 27, 40)()
    path = tmp_path / "out.json"
    program.main([*peer(ours["hd95_px"][0], ours["asd_px"][0]), "--cases", "head", "--json", str(path)])
    told = capsys.readouterr().out
    assert "load average before the start" in told
    assert "peer: monai 9.8.7, torch 9.8.7" in told
    (row,) = json.loads(path.read_text())["rows"]
    assert {name: len(values) for name, values in row["seconds"].items()} == {"ours": 6, "monai": 6}
    assert row["ratio"]["low"] <= row["ratio"]["median"] <= row["ratio"]["high"]
    assert program.line(row) in told


def test_a_peer_that_finds_something_else_is_refused(peer):
    ours = program.our_run("head", 27, 40)()
    with pytest.raises(UserError, match=r"asd_px is .* here and 7.0 in the peer"):
        program.main([*peer(ours["hd95_px"][0], 7.0), "--cases", "head"])


def test_the_line_of_numbers():
    row = {"case": "head", "seconds": {"ours": [0.002] * 6}}
    assert program.line(row) == "head    ours    2.00 ms (budget 5 ms)"
    row["seconds"]["monai"] = [0.008] * 6
    row["ratio"] = program.ratio(*row["seconds"].values())
    assert program.line(row).endswith("MONAI    8.00 ms, ratio 0.25 (95 % interval 0.25 to 0.25)")


@pytest.mark.slow
def test_without_a_peer_ours_is_timed_alone(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(program, "pin", lambda threads: [0])
    monkeypatch.setattr(program, "PARITY", tmp_path / "nowhere")
    program.main(TINY)
    told = capsys.readouterr().out.splitlines()
    assert [text.split()[0] for text in told[1:3]] == list(CASES)
    assert told[3] == "no peer: ours alone"


def test_an_environment_that_is_not_there_is_the_users_error():
    with pytest.raises(UserError, match=f"--peer-python {os.devnull} is not a file: run `make parity`, or give"):
        program.peer_worker(os.devnull)


@pytest.mark.parametrize(
    "wrong", [["--repeats", "5"], ["--height", "0"], ["--cases", "x"], ["--json", "no/where.json"]]
)
def test_wrong_arguments_end_with_2(wrong, capsys):
    with pytest.raises(SystemExit) as caught:
        program.parse(wrong)
    assert caught.value.code == 2
    assert wrong[0] in capsys.readouterr().err
