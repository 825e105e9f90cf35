"""The HC18 submission: the ellipse of what the model segments, in mm, a row an image, in the challenge's format."""

import csv
import dataclasses

import cv2
import numpy as np
import pytest

from fetal_jax.anatomy.ellipse import Ellipse
from fetal_jax.cli.main import main
from fetal_jax.core.types import UserError
from fetal_jax.inference import hc18_submission as submission
from fetal_jax.inference import segmenter as segmenters
from input_pipeline import builders, dataset
from input_pipeline.builders.hc18.dummy import SHAPE, dummy_data, dummy_official_test
from input_pipeline.builders.hc18.source import OFFICIAL_TEST
from input_pipeline.dataset import Dataset

HEADER = "filename,center_x_mm,center_y_mm,semi_axes_a_mm,semi_axes_b_mm,angle_rad"


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, card, small_network):
    """A run on HC18; with `bright_is_foreground` it takes what is bright for the head, pixel by pixel."""
    folder = tmp_path_factory.mktemp("run")
    head = dataclasses.replace(card, facts=builders.facts("hc18"), size=max(SHAPE))
    segmenters.save(folder / "model", head, small_network[1])
    return folder


def white_heads(folder, data_dir, masks=None):
    """A prepared official test set whose heads, or `masks`, are white on black; and the true ellipses by name."""
    ellipses = dummy_official_test(folder)
    for name, ellipse in ellipses.items():
        mask = (masks or {}).get(name, ellipse.fill(SHAPE))
        cv2.imwrite(str(folder / OFFICIAL_TEST.folder / f"{name}.png"), mask * 255)
    dataset.prepare("hc18/official_test", data_dir, str(folder))
    return Dataset("hc18/official_test", data_dir), ellipses


def read(path):
    with path.open(newline="") as file:
        return {
            row["filename"]: {k: float(v) for k, v in row.items() if k != "filename"} for row in csv.DictReader(file)
        }


@pytest.mark.slow
def test_each_image_has_the_ellipse_of_its_head(workdir, tmp_path, bright_is_foreground):
    test_set, ellipses = white_heads(tmp_path / "source", tmp_path / "data")
    out = tmp_path / "new" / "folder" / "submission.csv"
    lines = submission.submit([workdir], test_set, out)
    assert out.read_text().splitlines()[0] == HEADER
    rows = read(out)
    assert list(rows) == ["000_HC.png", "001_HC.png", "002_HC.png"]
    for name, truth in ellipses.items():
        row, size = rows[f"{name}.png"], float(test_set[name].spacing_mm[0])
        assert row["center_x_mm"] == pytest.approx(truth.centre[1] * size, abs=0.1 * size)
        assert row["center_y_mm"] == pytest.approx(truth.centre[0] * size, abs=0.1 * size)
        assert row["semi_axes_a_mm"] == pytest.approx(truth.semi_axes[0] * size, rel=0.005)
        assert row["semi_axes_b_mm"] == pytest.approx(truth.semi_axes[1] * size, rel=0.005)
        assert np.sin(row["angle_rad"] - truth.angle) == pytest.approx(0, abs=0.02)
        assert 0 <= row["angle_rad"] < np.pi
        assert submission.hc_mm(row) == pytest.approx(truth.circumference() * size, rel=0.003)
    assert lines[0] == "warning: hc18/official_test has 3 images; the official test set has 335"
    assert lines[1].startswith("3 heads, mean HC ")
    assert sorted(p.name for p in out.parent.iterdir()) == ["submission.csv"]


@pytest.mark.slow
def test_mirror_images_change_nothing_for_a_model_that_looks_at_single_pixels(workdir, tmp_path, bright_is_foreground):
    test_set, _ = white_heads(tmp_path / "source", tmp_path / "data")
    for name, tta in (("plain.csv", "none"), ("flips.csv", "flips")):
        submission.submit([workdir], test_set, tmp_path / name, tta=tta)
    assert (tmp_path / "flips.csv").read_text() == (tmp_path / "plain.csv").read_text()


def test_only_the_largest_piece_counts(workdir, tmp_path, bright_is_foreground):
    truth = Ellipse((54.0, 90.0), (40.0, 31.0), 0.2)
    mask = truth.fill(SHAPE)
    mask[2:12, 2:22] = 1
    test_set, _ = white_heads(tmp_path / "source", tmp_path / "data", {"001_HC": mask})
    submission.submit([workdir], test_set, tmp_path / "out.csv")
    size = float(test_set["001_HC"].spacing_mm[0])
    assert submission.hc_mm(read(tmp_path / "out.csv")["001_HC.png"]) == pytest.approx(
        truth.circumference() * size, rel=0.003
    )


def test_the_largest_piece_by_pixels_that_touch():
    mask = np.zeros((6, 8), bool)
    mask[0, :3] = mask[3, 0] = mask[4, 1] = mask[5, 2] = mask[5, 3] = True
    largest = submission.largest_component(mask)
    np.testing.assert_array_equal(np.argwhere(largest), [[3, 0], [4, 1], [5, 2], [5, 3]])
    assert not submission.largest_component(np.zeros((6, 8), bool)).any()


def test_an_image_without_a_head_gets_a_typical_one_and_is_named(workdir, tmp_path, bright_is_foreground):
    masks = {"001_HC": np.zeros(SHAPE, np.uint8), "002_HC": np.ones(SHAPE, np.uint8)}
    test_set, _ = white_heads(tmp_path / "source", tmp_path / "data", masks)
    lines = submission.submit([workdir], test_set, tmp_path / "out.csv")
    for name, line in zip(masks, lines, strict=False):
        row, size = read(tmp_path / "out.csv")[f"{name}.png"], float(test_set[name].spacing_mm[0])
        assert line.startswith(f"warning: {name}: the predicted mask has 0 border points")
        assert line.endswith("its row is a typical head in mid-frame")
        assert row["center_x_mm"] == pytest.approx(79.5 * size, abs=1e-5)
        assert row["center_y_mm"] == pytest.approx(53.5 * size, abs=1e-5)
        assert row["semi_axes_a_mm"] == pytest.approx(0.29 * 160 * size, abs=1e-5)
        assert row["semi_axes_b_mm"] == pytest.approx(0.23 * 160 * size, abs=1e-5)
        assert row["angle_rad"] == 0


@pytest.mark.parametrize(
    ("semi_axes", "angle", "expected"),
    [
        ((40.0, 30.0), 0.25, 0.25),
        ((40.0, 30.0), -0.25, np.pi - 0.25),
        ((40.0, 30.0), np.pi + 0.25, 0.25),
        ((30.0, 40.0), 0.25, np.pi / 2 + 0.25),
        ((30.0, 40.0), np.pi - 0.25, np.pi / 2 - 0.25),
    ],
)
def test_a_row_has_the_longer_semi_axis_first_and_its_angle_from_x_towards_y(semi_axes, angle, expected):
    row = submission.row("007_HC", Ellipse((10.0, 20.0), semi_axes, angle), np.float32([0.5, 0.5]))
    assert list(row) == HEADER.split(",")
    assert row["filename"] == "007_HC.png"
    assert (row["center_x_mm"], row["center_y_mm"]) == (10, 5)
    assert (row["semi_axes_a_mm"], row["semi_axes_b_mm"]) == (20, 15)
    assert row["angle_rad"] == pytest.approx(expected)


def test_the_circumference_of_a_row():
    assert submission.hc_mm({"semi_axes_a_mm": 5.0, "semi_axes_b_mm": 3.0}) == pytest.approx(25.526998863398131)
    assert submission.hc_mm({"semi_axes_a_mm": "10", "semi_axes_b_mm": "10"}) == pytest.approx(20 * np.pi)


def test_rows_of_the_references_have_the_published_circumference(tmp_path):
    ellipses = dummy_data(tmp_path / "source")
    builder = dataset.prepare("hc18", tmp_path / "data", str(tmp_path / "source"))
    published = {example["name"].decode(): example["hc_mm"] for example in builder.as_data_source(split="images")}
    references = Dataset("hc18", tmp_path / "data")
    assert published.keys() == ellipses.keys()
    for record in references.records(references.names):
        ellipse = submission.fit_mask(record.labels == 1)
        row = submission.row(record.name, ellipse, record.spacing_mm)
        assert submission.hc_mm(row) == pytest.approx(published[record.name], rel=0.004)


def test_a_failed_write_leaves_the_old_table(workdir, tmp_path, bright_is_foreground, monkeypatch):
    test_set, _ = white_heads(tmp_path / "source", tmp_path / "data")
    out = tmp_path / "out" / "submission.csv"
    submission.submit([workdir], test_set, out)
    before = out.read_bytes()

    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(csv, "writer", fail)
    with pytest.raises(OSError, match="disk full"):
        submission.submit([workdir], test_set, out)
    assert out.read_bytes() == before
    assert [p.name for p in out.parent.iterdir()] == ["submission.csv"]


def test_what_cannot_be_submitted_is_refused_before_anything_is_segmented(workdir, tmp_path, card, small_network):
    test_set, _ = white_heads(tmp_path / "source", tmp_path / "data")
    with pytest.raises(UserError, match="has no model"):
        submission.submit([tmp_path / "nowhere"], test_set, tmp_path / "out.csv")
    segmenters.save(tmp_path / "other", card, small_network[1])
    with pytest.raises(UserError, match="other segments cerebellum, no head: give the workdir of a run on hc18"):
        submission.submit([tmp_path / "other"], test_set, tmp_path / "out.csv")
    with pytest.raises(UserError, match="is a folder: name a file in it"):
        submission.submit([workdir], test_set, tmp_path)
    for spacing_mm in ([0, 0], [0.1, 0.2]):
        test_set.index = dataclasses.replace(test_set.index, spacing_mm=np.float32([[1, 1], spacing_mm, [1, 1]]))
        with pytest.raises(UserError, match=f"{test_set.names[1]} has no size of its square pixels"):
            submission.submit([workdir], test_set, tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


def test_the_command_writes_the_table_and_says_where(workdir, tmp_path, bright_is_foreground, capsys):
    white_heads(tmp_path / "source", tmp_path / "data")
    out = tmp_path / "submission.csv"
    command = ["--data-dir", str(tmp_path / "data"), "submit", "--workdir", str(workdir), "--out", str(out)]
    assert main(command) == 0
    assert str(out) in capsys.readouterr().out
    assert len(read(out)) == 3
    command[1] = str(tmp_path / "nothing")
    assert main(command) == 2
    assert "hc18/official_test is not prepared" in capsys.readouterr().err
