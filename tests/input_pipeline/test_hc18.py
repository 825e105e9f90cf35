"""HC18: outlines become the right masks, and a wrong folder is refused before anything is written."""

import json
import os
import shutil

import cv2
import numpy as np
import pytest

from fetal_jax.anatomy.ellipse import Ellipse
from fetal_jax.core.types import UserError
from input_pipeline import builders, dataset
from input_pipeline.builders.common import SPLIT
from input_pipeline.builders.hc18.dummy import SHAPE, dummy_data, dummy_official_test
from input_pipeline.builders.hc18.source import OFFICIAL_TEST, TRAINING, read_source
from input_pipeline.formats.raster import read_grey

FOLDER, TABLE = TRAINING.folder, TRAINING.table


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hc18") / "published"
    return folder, dummy_data(folder, n_subjects=5)


@pytest.fixture
def folder(pristine, tmp_path):
    return shutil.copytree(pristine[0], tmp_path / "published")


def prepare(folder, data_dir, name="hc18", **settings):
    builder = dataset.prepare(name, data_dir, str(folder), **settings)
    return {example["name"].decode(): example for example in builder.as_data_source(split=SPLIT)}


def test_the_dummy_folder_has_what_makes_hc18_hard(pristine):
    folder, ellipses = pristine
    heads = read_source(folder).items
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
        r"002_HC\.png is not a PNG file",
    ),
    "text": (lambda f: (f / FOLDER / "002_HC.png").write_text("hello"), r"002_HC\.png is not a PNG file"),
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
        r"002_HC_Annotation\.png is not the outline of an ellipse",
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
def test_a_wrong_folder_is_refused_in_one_line_and_leaves_nothing(damage, folder, refused):
    harm, message = DAMAGE[damage]
    harm(folder)
    refused("hc18", folder, message)


def test_the_training_set_folder_itself_is_sent_to_its_parent(folder, tmp_path):
    with pytest.raises(UserError, match=rf"that is its parent: --source {folder}"):
        prepare(folder / FOLDER, tmp_path / "data")


def test_preparing_without_a_source_says_so(tmp_path):
    with pytest.raises(UserError, match="--source DIR"):
        dataset.prepare("hc18", tmp_path / "data")


def empty_all_files(folder):
    for path in folder.glob("*HC.png"):
        path.write_bytes(b"")


def test_all_problems_are_counted_and_the_first_are_named(folder, tmp_path):
    empty_all_files(folder / FOLDER)
    with pytest.raises(UserError, match=r"000_2HC\.png is empty; 000_HC\.png is empty; .*; and 2 more: restore"):
        prepare(folder, tmp_path / "data")


def test_on_request_the_bad_files_are_listed_and_the_rest_is_prepared(pristine, folder, tmp_path, capfd):
    edit_row(folder, "002_HC.png", lambda row: "002_HC.png,-1,200")
    edit_row(folder, "004_HC.png", lambda row: None)
    edit_row(folder, "000_HC.png", lambda row: f"{row}\n777_HC.png,0.1,300")
    shorten(folder / FOLDER / "003_2HC_Annotation.png", 90)
    (folder / FOLDER / "001_HC.png").unlink()
    found = prepare(folder, tmp_path / "data", keep_going=True)
    assert sorted(found) == ["000_2HC", "000_HC", "003_HC"]
    for name, example in found.items():
        np.testing.assert_array_equal(example["image"][..., 0], read_grey(pristine[0] / FOLDER / f"{name}.png"))
    left_out = [line for line in capfd.readouterr().err.splitlines() if line.startswith("left out: ")]
    assert left_out == [
        f"left out: 002_HC.png has pixel size '-1' in {TABLE}",
        f"left out: 001_HC.png is in {TABLE} but not in {FOLDER}",
        f"left out: 777_HC.png is in {TABLE} but not in {FOLDER}",
        "left out: 001_HC_Annotation.png has no image",
        "left out: 003_2HC_Annotation.png is damaged or cut off",
        f"left out: 004_HC.png has no row in {TABLE}",
    ]


def test_where_nothing_is_good_there_is_nothing_to_go_on_with(folder, tmp_path):
    empty_all_files(folder / FOLDER)
    with pytest.raises(UserError, match=r"000_2HC\.png is empty"):
        prepare(folder, tmp_path / "data", keep_going=True)
    assert not any((tmp_path / "data").iterdir())


@pytest.fixture
def with_test_set(folder):
    return folder, dummy_official_test(folder)


def test_the_official_test_set_has_images_and_no_labels(with_test_set, tmp_path):
    folder, ellipses = with_test_set
    examples = prepare(folder, tmp_path / "data", "hc18:part=official-test")
    assert sorted(examples) == sorted(ellipses) == ["000_HC", "001_HC", "002_HC"]
    for name, example in examples.items():
        np.testing.assert_array_equal(example["image"][..., 0], read_grey(folder / "test_set" / f"{name}.png"))
        assert example["labels"].shape == (*SHAPE, 1)
        assert not example["labels"].any()
        assert not example["labelled"]
        assert example["hc_mm"] == 0
        assert example["spacing_mm"][0] == example["spacing_mm"][1] > 0
        assert example["subject"] == f"test_{name[:3]}".encode()
    facts = builders.facts("hc18/official_test")
    assert facts.classes == builders.facts("hc18").classes
    assert "other people" in facts.subject_rule


def test_hc18_alone_is_the_training_set_and_needs_no_test_set(with_test_set, pristine, tmp_path):
    folder, _ = with_test_set
    data_dir = tmp_path / "data"
    prepare(folder, data_dir, "hc18/official_test")
    training = prepare(pristine[0], data_dir)
    assert sorted(training) == sorted(pristine[1])
    assert (data_dir / "hc18" / "training" / "1.0.0").is_dir()
    assert dataset.Dataset("hc18", data_dir).subjects == dataset.Dataset("hc18:part=training", data_dir).subjects
    assert set(dataset.Dataset("hc18", data_dir).names) == set(training)
    lines = [line.split() for line in dataset.list_datasets(data_dir) if line.startswith("hc18")]
    assert [line[:3] for line in lines] == [["hc18/training", "7", "images"], ["hc18/official_test", "3", "images"]]


def cut_table(folder, keep):
    path = folder / OFFICIAL_TEST.table
    path.write_text("\n".join(path.read_text().splitlines()[:keep]) + "\n")


TEST_SET_DAMAGE = {
    "no folder": (lambda f: shutil.rmtree(f / "test_set"), r"has no folder test_set/"),
    "no table": (lambda f: (f / OFFICIAL_TEST.table).unlink(), r"has no test_set_pixel_size\.csv"),
    "no row": (lambda f: cut_table(f, 3), r"002_HC\.png has no row in test_set_pixel_size\.csv"),
    "no image": (
        lambda f: (f / "test_set" / "001_HC.png").unlink(),
        r"001_HC\.png is in test_set_pixel_size\.csv but not in test_set",
    ),
    "empty file": (lambda f: shorten(f / "test_set" / "001_HC.png", 0), r"001_HC\.png is empty"),
    "an annotation": (
        lambda f: shutil.copy(f / FOLDER / "000_HC_Annotation.png", f / "test_set"),
        r"000_HC_Annotation\.png is not named like",
    ),
}


@pytest.mark.parametrize("damage", TEST_SET_DAMAGE)
def test_a_wrong_test_set_is_refused_too(damage, with_test_set, tmp_path):
    harm, message = TEST_SET_DAMAGE[damage]
    harm(with_test_set[0])
    with pytest.raises(UserError, match=message):
        prepare(with_test_set[0], tmp_path / "data", "hc18/official_test")
    assert not any((tmp_path / "data").iterdir())


def test_metadata_of_a_newer_format_is_refused(tmp_path):
    dummy_data(tmp_path / "raw")
    builder = dataset.prepare("hc18", tmp_path / "data", str(tmp_path / "raw"))
    path = builder.data_path / "metadata.json"
    fields = json.loads(path.read_text())
    assert fields.pop("format") == 1
    path.write_text(json.dumps(fields))  # as it was written before there were formats
    assert dataset.Dataset("hc18", tmp_path / "data").notes == []
    path.write_text(json.dumps(fields | {"format": 2}))
    with pytest.raises(UserError, match=r"metadata\.json: is of format 2, .*: install a newer fetal_jax$"):
        dataset.Dataset("hc18", tmp_path / "data")
