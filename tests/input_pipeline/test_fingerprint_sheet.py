"""The contact sheet: which examples are on it, how large it is, and where the colours lie."""

import cv2
import numpy as np
import pytest
from PIL import Image
from test_fingerprint import COLOURS, UNKNOWN, Fake

from fetal_jax.core.types import UserError
from input_pipeline.dataset import Dataset, Record
from input_pipeline.fingerprint import extract_fingerprint, write_sheet
from input_pipeline.fingerprint.example_selection import select_examples
from input_pipeline.fingerprint.sheet import CELL, FILL, LINE, MARGIN, PAPER, TITLE, WIDTH, overlay

CLASSES = ("background", "brain", "csp")


def row(name, subject, *pixels, group=""):
    return name, subject, group, pixels or None, (10, 10), UNKNOWN


def names(dataset, number):
    return [dataset.index.names[i] for i in select_examples(dataset, number)]


def sheet_of(path, dataset):
    write_sheet(path, dataset, extract_fingerprint(dataset))
    return np.array(Image.open(path))


def test_examples_are_spread_over_the_subjects():
    rows = [row(f"{s}{i}", s, 90, 10, 0) for s in "abcdef" for i in range(10)]
    dataset = Fake(rows, CLASSES)
    assert {name[0] for name in names(dataset, 6)} == set("abcdef")
    assert sorted(name[0] for name in names(dataset, 12)) == sorted("abcdef" * 2)
    assert {name[0] for name in names(dataset, 3)} <= set("abcdef")
    assert len({name[0] for name in names(dataset, 3)}) == 3
    assert names(dataset, 12) == names(dataset, 12) == sorted(names(dataset, 12))
    assert len(set(names(dataset, 100))) == 60


def test_a_rare_structure_is_shown_twice():
    rows = [row(f"i{i:03}", f"s{i}", 90, 10, 5 if i in (17, 55, 56) else 0) for i in range(100)]
    assert len({"i017", "i055", "i056"} & set(names(Fake(rows, CLASSES), 8))) >= 2
    once = [row(f"i{i:03}", f"s{i}", 90, 10, 5 if i == 33 else 0) for i in range(100)]
    assert "i033" in names(Fake(once, CLASSES), 2)


def test_examples_are_in_the_order_of_group_and_name():
    rows = [row(name, name, 90, 10, 0, group=group) for name, group in (("b", "6m"), ("c", "12m"), ("a", "6m"))]
    assert names(Fake(rows, CLASSES), 20) == ["c", "a", "b"]


def record(labels, grey=100):
    labels = np.asarray(labels, np.uint8)
    image = np.full((*labels.shape, 1), grey, np.uint8)
    return Record("name", "subject", image, labels, True, np.zeros(2, np.float32))


def test_structures_are_tinted_and_outlined():
    labels = np.zeros((20, 20), np.uint8)
    labels[5:15, 5:15] = 1
    drawn = overlay(record(labels), COLOURS, (20, 20))
    np.testing.assert_array_equal(drawn[0, 0], (100, 100, 100))
    np.testing.assert_array_equal(drawn[4, 10], (100, 100, 100))
    np.testing.assert_array_equal(drawn[5, 10], COLOURS[1])
    np.testing.assert_array_equal(drawn[10, 14], COLOURS[1])
    inside = [round(100 * (1 - FILL) + 255 * FILL), round(100 * (1 - FILL)), round(100 * (1 - FILL))]
    np.testing.assert_array_equal(drawn[6:14, 6:14], np.broadcast_to(np.array(inside, np.uint8), (8, 8, 3)))


def test_pictures_keep_their_shape_in_the_middle_of_the_box():
    drawn = overlay(record(np.zeros((10, 40))), COLOURS, (60, 80))
    assert drawn.shape == (60, 80, 3)
    np.testing.assert_array_equal(drawn[20:40], np.full((20, 80, 3), 100))
    np.testing.assert_array_equal(drawn[:20], np.broadcast_to(np.array(PAPER, np.uint8), (20, 80, 3)))
    np.testing.assert_array_equal(drawn[40:], np.broadcast_to(np.array(PAPER, np.uint8), (20, 80, 3)))


@pytest.mark.slow
def test_the_sheet_is_1280_wide_with_the_colours_in_place(data_dir, tmp_path):
    dataset = Dataset("fetal_phantom/tiny", data_dir)
    sheet = sheet_of(tmp_path / "sheet.png", dataset)
    cell, top = round(CELL * 96 / 128), MARGIN + TITLE + LINE + MARGIN
    assert sheet.shape == (top + 4 * (cell + 2 * LINE + MARGIN), WIDTH, 3)
    for number, name in enumerate(names(dataset, 20)):
        down, along = divmod(number, 5)
        y, x = top + down * (cell + 2 * LINE + MARGIN), MARGIN + along * (CELL + MARGIN)
        picture, labels = sheet[y : y + cell, x : x + CELL].astype(int), dataset[name].labels
        large = cv2.resize(labels, (CELL, cell), interpolation=cv2.INTER_NEAREST_EXACT)
        grey = (picture.max(-1) - picture.min(-1)) == 0
        np.testing.assert_array_equal(grey[large == 0], True)
        for class_id in np.unique(labels[labels > 0]):
            exact = (picture[large == class_id] == dataset.facts.colours[class_id]).all(-1)
            assert exact.any()
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]


def test_the_legend_has_a_swatch_for_every_class(data_dir, tmp_path):
    dataset = Dataset("fetal_phantom/tiny", data_dir)
    legend = sheet_of(tmp_path / "sheet.png", dataset)[MARGIN + TITLE : MARGIN + TITLE + LINE]
    for colour in dataset.facts.colours[1:]:
        assert (legend == colour).all(-1).sum() >= 14 * 14


def test_one_image_and_no_labels_make_a_sheet_too(tmp_path):
    sheet = sheet_of(tmp_path / "sheet.png", Fake([row("a", "A")], CLASSES))
    assert sheet.shape == (MARGIN + TITLE + LINE + MARGIN + CELL + 2 * LINE + MARGIN, WIDTH, 3)
    small = overlay(record(np.zeros((1, 1))), COLOURS, (20, 30))
    np.testing.assert_array_equal(small[:, 5:25], np.full((20, 20, 3), 100))


def test_volumes_are_shown_by_their_middle_slice(tmp_path):
    rows = [("v", "V", "6m", (48, 16), (4, 4, 4), (1.0, 1.0, 1.0))]
    dataset = Fake(rows, ("background", "wm"))
    sheet = sheet_of(tmp_path / "sheet.png", dataset)  # the last slice alone is white matter; the middle one is not
    picture = sheet[MARGIN + TITLE + LINE + MARGIN :][:CELL, MARGIN : MARGIN + CELL]
    np.testing.assert_array_equal(picture, np.zeros_like(picture))


def test_long_names_and_many_classes_stay_on_the_sheet(tmp_path):
    classes = ("background", *(f"a structure with a rather long name {i}" for i in range(12)))
    dataset = Fake([("n" * 200, "s" * 200, "", (52, *[4] * 12), (10, 10), UNKNOWN)], classes)
    sheet = sheet_of(tmp_path / "sheet.png", dataset)
    # Three entries of 368 or 377 px fit into a line: four lines.
    assert sheet.shape == (MARGIN + TITLE + 4 * LINE + MARGIN + CELL + 2 * LINE + MARGIN, WIDTH, 3)
    caption = sheet[-2 * LINE - MARGIN :]
    assert (caption[:, : MARGIN + CELL] != PAPER).any()
    assert (caption[:, MARGIN + CELL + 2 :] == PAPER).all()


def test_a_sheet_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    def fail(*_):
        raise UserError("disk full")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(UserError, match="disk full"):
        sheet_of(tmp_path / "sheet.png", Fake([row("a", "A", 90, 10, 0)], CLASSES))
    assert list(tmp_path.iterdir()) == []
