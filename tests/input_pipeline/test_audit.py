"""The whole audit: of a small dataset with one of every fault, and of the phantom, which has none."""

import dataclasses
import json
import pathlib

import cv2
import numpy as np
import pytest

from fetal_jax.core.types import DatasetFacts, UserError
from input_pipeline.audit import Audit, Images, audit, sheet, write_sheet
from input_pipeline.dataset import Dataset, Record

FACTS = DatasetFacts(
    "made", "Made up", ("background", "head", "csp"), ((0, 0, 0), (255, 0, 0), (0, 255, 0)), "", "", ""
)


def texture(seed):
    rng = np.random.default_rng(seed)
    layers = [cv2.GaussianBlur(rng.standard_normal((120, 160)), (0, 0), sigma) for sigma in (3, 8)]
    return np.clip(110 + 40 * sum(layer / layer.std() for layer in layers), 0, 255).astype(np.uint8)


def record(name, image, box=(30, 90, 40, 120), spacing=0.2):
    """An image of the subject its name starts with; `box` is the head: top, bottom, left, right."""
    labels = np.zeros(image.shape, np.uint8)
    labels[box[0] : box[1], box[2] : box[3]] = 1
    return Record(name, name[0], image[..., None], labels, True, np.full(2, spacing, np.float32))


class Made:
    """A dataset of records in memory."""

    name, version, facts = "made", "made:1.0.0", FACTS

    def __init__(self, *records):
        self._records = {record.name: record for record in records}
        self.names = list(self._records)
        self.subjects = {name: record.subject for name, record in self._records.items()}
        self.labelled = {name: record.labelled for name, record in self._records.items()}

    def __getitem__(self, name):
        return self._records[name]


@pytest.fixture(scope="module")
def faulty():
    """b2 is b1 again, c1 is a1 again, d1 is e1 mirrored and darker, e2 is out of frame, f1 has no head and no size."""
    return Made(
        record("a1", texture(0)),
        record("b1", texture(1)),
        record("b2", texture(1)),
        record("c1", texture(0)),
        record("d1", cv2.flip(texture(2), 1) // 2),
        record("e1", texture(2)),
        record("e2", texture(3), box=(0, 60, 40, 120)),
        record("f1", texture(4), box=(0, 0, 0, 0), spacing=0.0),
    )


@pytest.fixture(scope="module")
def found(faulty):
    return audit(faulty, {"train": ("a1.png", "b1", "d1"), "test": ("c1", "e1", "e2"), "unused": ("f1",)})


def test_every_fault_is_found(found):
    assert (found.n_images, found.n_labelled, found.n_subjects) == (8, 8, 6)
    assert [(group.names, group.across_subjects) for group in found.exact] == [
        (("a1", "c1"), True),
        (("b1", "b2"), False),
    ]
    assert [(pair.names, pair.across_subjects, pair.flip) for pair in found.near] == [
        (("d1", "e1"), True, "horizontal")
    ]
    assert [(f.kind, f.name) for f in found.masks] == [("empty", "f1"), ("out of frame", "e2")]
    assert [(f.kind, f.name) for f in found.spacing] == [("unknown spacing", "f1")]
    assert found.absent_classes == ("csp",)
    assert found.leaks.copies == (("a1", "c1"), ("d1", "e1"))
    assert found.leaks.leaking_test_images == ("c1", "e1")
    assert found.leaks.leaking_test_subjects == ()


def test_json_holds_everything(found):
    fields = json.loads(found.to_json())
    assert fields.keys() == {field.name for field in dataclasses.fields(Audit)} | {"format", "rules"}
    assert fields["format"] == 1
    assert fields["version"] == "made:1.0.0"
    assert fields["exact"][0] == {"names": ["a1", "c1"], "subjects": ["a", "c"], "across_subjects": True}
    assert fields["masks"][1] == {
        "kind": "out of frame",
        "name": "e2",
        "subject": "e",
        "structure": "head",
        "value": 160.0,  # 2 rows of 80
    }
    assert fields["leaks"]["n_images"] == {"train": 3, "test": 3}
    assert {finding["kind"] for finding in fields["masks"] + fields["spacing"]} <= fields["rules"].keys()


def test_the_summary_in_lines(found):
    lines = found.lines()
    assert lines[0] == "made:1.0.0: 8 images, 8 labelled, 6 subjects"
    assert "exact duplicates: 2 groups, 1 of them across subjects: a1 = c1, b1 = b2" in lines
    assert lines[2].startswith("near-duplicates: 1 pairs, 1 of them across subjects: d1 ~ e1 (")
    assert "out of frame: 1: e2 (head)" in lines
    assert "classes that no image shows: csp" in lines
    assert "test images whose subject or copy another part has: 2 of 3: c1, e1" in lines
    assert "duplicates that cross parts: a1 ~ c1, d1 ~ e1" in lines
    assert all("\n" not in line for line in lines)


def test_without_a_split_a_random_one_is_judged(faulty):
    found = audit(faulty, seed=5)
    assert found.leaks is None
    assert found.random_split.seed == 5
    assert found.lines()[-1].startswith("a random split by image (20% test) would train on ")


def test_a_long_list_is_cut_short_in_the_summary_only():
    blank = Made(*(record(f"{i}x", texture(i), box=(0, 0, 0, 0)) for i in range(7)))
    found = audit(blank)
    assert "empty: 7: 0x, 1x, 2x, 3x, 4x and 2 more" in found.lines()
    assert len(json.loads(found.to_json())["masks"]) == 7


def test_a_name_that_is_not_there_is_refused_before_anything_is_read(faulty):
    with pytest.raises(UserError, match=r"split: image 'z1\.png' of part 'test' is not in dataset 'made'"):
        audit(faulty, {"train": ("a1",), "test": ("z1.png",)})


def test_the_sheet_shows_sections_in_rows(faulty, found, tmp_path):
    """Six sections: copies across subjects, within one, near, across parts; an empty mask, one out of frame."""
    write_sheet(tmp_path / "sheet.png", faulty, found)
    picture = cv2.imread(str(tmp_path / "sheet.png"))
    row = sheet.TILE_HEIGHT + sheet.CAPTION
    assert picture.shape == (7 * sheet.TITLE + 6 * row, 4 * sheet.TILE_WIDTH, 3)
    assert [path.name for path in tmp_path.iterdir()] == ["sheet.png"]
    red = (picture == (0, 0, 255)).all(-1)  # outlines of the head in the colour of the dataset, blue first here
    assert red[2 * sheet.TITLE :][:row, : sheet.TILE_WIDTH].sum() > 300


def test_a_section_of_the_sheet_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(sheet, "SHOWN", 4)
    blank = Made(*(record(f"{i}x", texture(i), box=(0, 0, 0, 0)) for i in range(7)))
    write_sheet(tmp_path / "sheet.png", blank, audit(blank))
    assert cv2.imread(str(tmp_path / "sheet.png")).shape[0] == 2 * sheet.TITLE + sheet.TILE_HEIGHT + sheet.CAPTION


def test_the_phantom_is_sound(data_dir, tmp_path):
    dataset = Dataset("fetal_phantom/tiny", pathlib.Path(data_dir))
    assert isinstance(dataset, Images)
    found = audit(dataset)
    assert (found.n_images, found.n_subjects) == (24, 8)
    assert (found.exact, found.near, found.spacing) == ((), (), ())
    assert found.absent_classes == ("lv",)  # the plane does not show it
    write_sheet(tmp_path / "sheet.png", dataset, found)
    assert (tmp_path / "sheet.png").exists()


def test_volumes_are_audited_by_their_middle_slice():
    """Two volumes that share it are near-duplicates; equal ones are exact."""

    def volume(name, *seeds):
        image = np.stack([texture(seed) for seed in seeds]).astype(np.uint16)[..., None] << 8
        labels = np.zeros(image.shape[:3], np.uint8)
        labels[2:-2, 30:90, 40:120] = 1
        return Record(name, name, image, labels, True, np.full(3, 0.8, np.float32))

    made = Made(
        volume("a", 1, 2, 3, 4, 5), volume("b", 6, 7, 3, 8, 9), volume("c", 1, 2, 3, 4, 5), volume("d", 2, 3, 4, 5, 6)
    )
    found = audit(made)
    assert [group.names for group in found.exact] == [("a", "c")]
    assert [pair.names for pair in found.near] == [("a", "b")]
    assert found.masks == ()
