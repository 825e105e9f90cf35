"""The sanity checks of explanations: their table by hand, and what is refused."""

import math

import pytest

from experiments import explain_sanity as program
from fetal_jax.evaluation.explain import Similarity


def checks(*correlations):
    """Of one image: two methods, whose maps are compared after each of two blocks."""
    blocks = ("decoder/logits", "encoder/stage1")
    rows = {"A": correlations[:2], "B": correlations[2:]}
    return {
        name: {block: Similarity(rank, 1.0) for block, rank in zip(blocks, row, strict=True)}
        for name, row in rows.items()
    }


def test_the_table_has_means_over_maps_that_have_not_vanished():
    lines = program.table([checks(0.5, 0.1, 1, 0.9), checks(0.7, math.nan, 1, -0.6)]).splitlines()
    assert lines[0] == "| random down to | A | B |"
    assert lines[2] == "| decoder/logits | 0.60 | 1.00 |"
    assert lines[3] == "| encoder/stage1 | 0.10 (1) | 0.15 |"
    assert lines[4] == "| **passed** | 2 of 2 | 0 of 2 |"  # a map turned into its negative has not been destroyed
    assert "| constant |" in program.table([checks(0.5, math.nan, 1, 1)])


def test_what_is_no_run_is_refused(tmp_path, capsys):
    assert program.main(["--workdir", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"explain_sanity: {tmp_path} has no model: ")
    assert told.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--images", "0"], ["--steps", "0"], ["--out", "nowhere/table.md"]])
def test_arguments_that_make_no_sense_are_refused(arguments, capsys):
    with pytest.raises(SystemExit) as stopped:
        program.main(["--workdir", "runs/a", *arguments])
    assert stopped.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_the_table_is_printed_and_written(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(program, "check", lambda *asked: [checks(0.5, 0.1, 1, 0.9)])
    out = tmp_path / "table.md"
    assert program.main(["--workdir", str(tmp_path), "--out", str(out)]) == 0
    assert capsys.readouterr().out == out.read_text() == program.table([checks(0.5, 0.1, 1, 0.9)])
