"""HC18: outlines become the right masks, and a wrong folder is refused before anything is written."""

import os
import shutil

import cv2
import numpy as np
import pytest

from fetal_jax.types import UserError
from input_pipeline import builders
from input_pipeline.builders.common import SPLIT
from input_pipeline.builders.hc18.dummy import SHAPE, dummy_data
from input_pipeline.builders.hc18.ellipse import Ellipse, fit_outline
from input_pipeline.builders.hc18.source import FOLDER, TABLE, read_source
from input_pipeline.images import read_grey


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hc18") / "published"
    return folder, dummy_data(folder, n_subjects=5)


@pytest.fixture
def folder(pristine, tmp_path):
    return shutil.copytree(pristine[0], tmp_path / "published")


def outline_of(ellipse, shape, width=3):
    radius = ellipse.radius(*np.ogrid[: shape[0], : shape[1]])
    return np.abs(radius - 1) * min(ellipse.semi_axes) <= width / 2


def prepare(folder, data_dir):
    builder = builders.builder("hc18", str(data_dir), source=str(folder))
    builder.download_and_prepare()
    return {example["name"].decode(): example for example in builder.as_data_source(split=SPLIT)}


def test_the_circumference_of_a_circle_and_of_a_known_ellipse():
    assert Ellipse((0.0, 0.0), (10.0, 10.0), 0.3).circumference() == pytest.approx(20 * np.pi)
    assert Ellipse((0.0, 0.0), (3.0, 5.0), 0.0).circumference() == pytest.approx(25.526998863398131)  # by quadrature
    assert Ellipse((0.0, 0.0), (5.0, 3.0), 0.0).circumference() == pytest.approx(25.526998863398131)


def test_fill_covers_the_area_and_follows_the_angle():
    ellipse = Ellipse((50.0, 60.0), (40.0, 20.0), np.pi / 4)  # long axis down and to the right
    mask = ellipse.fill((100, 120))
    assert mask.sum() == pytest.approx(np.pi * 40 * 20, rel=0.005)
    assert mask[50 + 25, 60 + 25] == 1  # 35.4 along the long axis
    assert mask[50 + 25, 60 - 25] == 0
    assert mask.dtype == np.uint8


@pytest.mark.parametrize("angle", [0.0, 0.4, 1.3, -0.7])
@pytest.mark.parametrize("centre", [(54.0, 80.0), (54.0, 22.0), (29.0, 100.0)])
def test_the_fit_finds_the_ellipse_also_when_it_leaves_the_frame(angle, centre):
    truth = Ellipse(centre, (42.0, 33.0), angle)
    found = fit_outline(outline_of(truth, SHAPE))
    assert found.circumference() == pytest.approx(truth.circumference(), rel=0.01)
    mask, expected = found.fill(SHAPE), truth.fill(SHAPE)
    assert 2 * (mask & expected).sum() / (mask.sum() + expected.sum()) > 0.99


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda m: m[5, 5:10].fill(True), "has 5 outline pixels, too few"),
        (lambda m: m[20, 5:90].fill(True), "line"),
        (lambda m: m[10:60, 20:90].fill(True), "not a filled mask"),
    ],
)
def test_what_is_no_outline_is_refused(draw, message):
    mask = np.zeros(SHAPE, bool)
    draw(mask)
    with pytest.raises(ValueError, match=message):
        fit_outline(mask)


def test_the_dummy_folder_has_what_makes_hc18_hard(pristine):
    folder, ellipses = pristine
    heads = read_source(folder)
    assert [head.name for head in heads] == sorted(ellipses)
    assert [head.subject for head in heads].count("000") == 2
    assert next(e for n, e in ellipses.items() if n == "001_HC").fill(SHAPE)[:, 0].any()  # leaves the frame
    assert set(np.unique(read_grey(folder / FOLDER / "000_HC_Annotation.png"))) == {0, 255}


def test_the_examples(pristine, tmp_path):
    folder, ellipses = pristine
    examples = prepare(folder, tmp_path / "data")
    assert sorted(examples) == ["000_2HC", "000_HC", "001_HC", "002_HC", "003_2HC", "003_HC", "004_HC"]
    for name, example in examples.items():
        mask, expected = example["labels"][..., 0], ellipses[name].fill(SHAPE)
        assert 2 * (mask & expected).sum() / (mask.sum() + expected.sum()) > 0.99
        np.testing.assert_array_equal(example["image"][..., 0], read_grey(folder / FOLDER / f"{name}.png"))
        assert example["subject"] == name[:3].encode()
        assert example["labelled"]
        assert example["spacing_mm"][0] == example["spacing_mm"][1] > 0
        circumference = ellipses[name].circumference() * example["spacing_mm"][0]
        assert example["hc_mm"] == pytest.approx(circumference, abs=0.01)


def test_prepared_data_needs_no_source_and_is_not_written_twice(pristine, folder, tmp_path):
    examples = prepare(folder, tmp_path / "data")
    shutil.rmtree(folder)
    assert prepare(folder, tmp_path / "data").keys() == examples.keys()
    builder = builders.builder("hc18", str(tmp_path / "data"))
    assert len(builder.as_data_source(split=SPLIT)) == len(examples)


def test_colour_files_become_grey_and_a_missing_circumference_becomes_zero(folder, tmp_path):
    path = folder / FOLDER / "002_HC.png"
    grey = read_grey(path)
    cv2.imwrite(str(path), np.stack([grey] * 3, axis=-1))
    rows = (folder / TABLE).read_text().splitlines()
    rows = [row.rsplit(",", 1)[0] + "," if row.startswith("002_HC.png") else row for row in rows]
    (folder / TABLE).write_text("\n".join(rows))
    example = prepare(folder, tmp_path / "data")["002_HC"]
    np.testing.assert_array_equal(example["image"][..., 0], grey)
    assert example["hc_mm"] == 0


def edit_row(folder, name, edit):
    rows = (folder / TABLE).read_text().splitlines()
    edited = [edit(row) if row.startswith(f"{name},") else row for row in rows]
    (folder / TABLE).write_text("\n".join(row for row in edited if row is not None))


def shorten(path, size):
    path.write_bytes(path.read_bytes()[:size])


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def draw_outline(folder, name, array):
    cv2.imwrite(str(folder / FOLDER / f"{name}_Annotation.png"), array.astype(np.uint8) * 255)


DAMAGE = {
    "no folder": (lambda f: shutil.rmtree(f), r"published: no such folder"),
    "empty folder": (lambda f: (shutil.rmtree(f), f.mkdir()), r"has no folder training_set/"),
    "empty training set": (
        lambda f: (shutil.rmtree(f / FOLDER), (f / FOLDER).mkdir()),
        r"holds no PNG files",
    ),
    "no table": (lambda f: (f / TABLE).unlink(), r"has no training_set_pixel_size_and_HC\.csv"),
    "another table": (lambda f: (f / TABLE).write_text("a,b\n1,2\n"), r"expected the columns filename"),
    "empty file": (lambda f: shorten(f / FOLDER / "002_HC.png", 0), r"002_HC\.png is empty"),
    "cut file": (lambda f: shorten(f / FOLDER / "002_HC.png", 900), r"002_HC\.png is damaged or cut off"),
    "cut end": (lambda f: shorten(f / FOLDER / "002_HC.png", -5), r"002_HC\.png is damaged or cut off"),
    "flipped bit": (lambda f: flip_a_bit(f / FOLDER / "004_HC.png"), r"004_HC\.png is damaged"),
    "deep file": (
        lambda f: cv2.imwrite(str(f / FOLDER / "002_HC.png"), np.zeros(SHAPE, np.uint16)),
        r"002_HC\.png has uint16 pixels",
    ),
    "photo": (
        lambda f: (f / FOLDER / "002_HC.png").write_bytes(cv2.imencode(".jpg", np.zeros(SHAPE, np.uint8))[1].tobytes()),
        r"002_HC\.png is no PNG",
    ),
    "text": (lambda f: (f / FOLDER / "002_HC.png").write_text("hello"), r"002_HC\.png is no PNG"),
    "cut outline": (
        lambda f: shorten(f / FOLDER / "002_HC_Annotation.png", 90),
        r"002_HC_Annotation\.png is damaged or cut off",
    ),
    "no outline file": (
        lambda f: (f / FOLDER / "003_2HC_Annotation.png").unlink(),
        r"003_2HC\.png has no annotation 003_2HC_Annotation\.png",
    ),
    "no image": (lambda f: (f / FOLDER / "003_HC.png").unlink(), r"003_HC_Annotation\.png has no image"),
    "outline of another size": (
        lambda f: draw_outline(f, "002_HC", np.ones((40, 50))),
        r"002_HC_Annotation\.png has shape \(40, 50\), its image has \(108, 160\)",
    ),
    "empty outline": (
        lambda f: draw_outline(f, "002_HC", np.zeros(SHAPE)),
        r"002_HC_Annotation\.png has 0 outline pixels",
    ),
    "filled outline": (
        lambda f: draw_outline(f, "002_HC", Ellipse((50.0, 70.0), (40.0, 30.0), 0.0).fill(SHAPE)),
        r"002_HC_Annotation\.png is no ellipse outline",
    ),
    "no row": (
        lambda f: edit_row(f, "002_HC.png", lambda row: None),
        r"002_HC\.png has no row in training_set_",
    ),
    "row without file": (
        lambda f: edit_row(f, "002_HC.png", lambda row: f"{row}\n777_HC.png,0.1,300"),
        r"777_HC\.png is in training_set_pixel_size_and_HC\.csv but not in training_set",
    ),
    "two rows": (
        lambda f: edit_row(f, "002_HC.png", lambda row: f"{row}\n{row}"),
        r"002_HC\.png has two rows",
    ),
    "no pixel size": (
        lambda f: edit_row(f, "002_HC.png", lambda row: "002_HC.png,,200"),
        r"has pixel size ''",
    ),
    "pixel size zero": (
        lambda f: edit_row(f, "002_HC.png", lambda row: "002_HC.png,0,200"),
        r"pixel size '0'",
    ),
    "pixel size nan": (
        lambda f: edit_row(f, "002_HC.png", lambda row: "002_HC.png,nan,9"),
        r"pixel size 'nan'",
    ),
    "short row": (lambda f: edit_row(f, "002_HC.png", lambda row: "002_HC.png"), r"has pixel size None"),
    "another name": (
        lambda f: os.rename(f / FOLDER / "002_HC.png", f / FOLDER / "head.png"),
        r"head\.png is not named like 000_HC\.png",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_wrong_folder_is_refused_in_one_line_and_leaves_nothing(damage, folder, tmp_path, capfd):
    harm, message = DAMAGE[damage]
    harm(folder)
    data_dir = tmp_path / "data"
    with pytest.raises(UserError, match=message) as caught:
        prepare(folder, data_dir)
    assert "\n" not in str(caught.value)
    assert not data_dir.exists() or not any(data_dir.iterdir())
    assert "libpng" not in capfd.readouterr().err


def test_the_training_set_folder_itself_is_sent_to_its_parent(folder):
    with pytest.raises(UserError, match=rf"that is its parent: --source {folder}"):
        read_source(folder / FOLDER)


def test_preparing_without_a_source_says_so(tmp_path):
    with pytest.raises(UserError, match="--source DIR"):
        builders.builder("hc18", str(tmp_path / "data")).download_and_prepare()


def test_all_problems_are_counted_and_the_first_are_named(folder):
    for path in (folder / FOLDER).glob("*HC.png"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match=r"000_2HC\.png is empty; 000_HC\.png is empty; .*; and 2 more: restore"):
        read_source(folder)
