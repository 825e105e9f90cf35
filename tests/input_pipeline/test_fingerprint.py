"""The fingerprint of a dataset: counts, sizes, extents and grey values against numbers worked out by hand."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetal_jax.core.types import DatasetFacts
from input_pipeline.dataset import Dataset, Record
from input_pipeline.fingerprint import extract_fingerprint
from input_pipeline.fingerprint.dataset_fingerprint import Spread
from input_pipeline.fingerprint.intensity import PERCENTILES, intensities
from input_pipeline.index import Index

COLOURS = ((0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255), *((200, i, 40) for i in range(12)))


class Fake(Dataset):
    """A dataset in memory: `rows` are (name, subject, group, pixels of each class or None, shape, spacing in mm)."""

    def __init__(self, rows, classes=("background", "brain", "csp", "lv"), notes=()):
        names, subjects, groups, pixels, shapes, spacings = zip(*rows, strict=True)
        self.name, self.version, self.notes = "fake", "fake:1.0.0:0", list(notes)
        dims, self._new_id = len(shapes[0]), np.arange(256, dtype=np.uint8)
        facts = {"name": "fake", "title": "Made by hand", "subject_rule": "a letter", "licence": "", "citation": ""}
        self.facts = DatasetFacts(**facts, classes=classes, colours=COLOURS[: len(classes)], dims=dims)
        none = (0,) * len(classes)
        self.index = Index(
            names=names,
            subjects=subjects,
            groups=groups,
            labelled=np.array([each is not None for each in pixels]),
            shapes=np.array(shapes, np.int64),
            spacing_mm=np.array(spacings, np.float32),
            pixels=np.array([none if each is None else each for each in pixels], np.int64),
            digest="",
        )
        self._row = {name: i for i, name in enumerate(names)}
        self.decoded = []

    def __getitem__(self, name):
        """Every pixel has the number of its row; each class fills the next pixels of its count, in reading order."""
        self.decoded.append(name)
        row, index = self._row[name], self.index
        shape = tuple(index.shapes[row].tolist())
        kind = np.uint8 if len(shape) == 2 else np.uint16
        labels = np.repeat(np.arange(len(self.facts.classes), dtype=np.uint8), index.pixels[row])
        if not index.labelled[row]:
            labels = np.zeros(np.prod(shape), np.uint8)
        image = np.full((*shape, 1), row % 256, kind)
        spacing = index.spacing_mm[row]
        return Record(name, index.subjects[row], image, labels.reshape(shape), bool(index.labelled[row]), spacing)


UNKNOWN = (0.0, 0.0)
FEW = [
    ("a1", "A", "", (60, 40, 0, 0), (10, 10), (0.5, 0.5)),
    ("a2", "A", "", (90, 8, 2, 0), (10, 10), (0.5, 1.0)),
    ("b1", "B", "", (200, 0, 0, 0), (10, 20), UNKNOWN),
    ("b2", "B", "", None, (10, 20), UNKNOWN),
    ("c1", "C", "", None, (20, 20), UNKNOWN),
]


@pytest.fixture(scope="module")
def found():
    return extract_fingerprint(Fake(FEW, notes=["a note"]))


def test_images_and_subjects_are_counted(found):
    assert (found.n_images, found.n_labelled, found.n_empty) == (5, 3, 1)
    assert (found.n_subjects, found.n_labelled_subjects) == (3, 2)
    assert found.n_pool == 1  # c1: b2 is of a subject with a label
    assert found.images_a_subject == Spread.of([2, 2, 1])
    assert found.labelled_a_subject == Spread.of([2, 1])
    assert found.groups == {}


def test_sizes_and_spacings(found):
    assert found.sizes.axes == (Spread.of([10, 10, 10, 10, 20]), Spread.of([10, 10, 20, 20, 20]))
    assert (found.sizes.longest.minimum, found.sizes.longest.median) == (10, 20)
    assert (found.sizes.commonest, found.sizes.n_commonest, found.sizes.n_distinct) == ((10, 10), 2, 3)
    assert found.spacing.n_known == 2
    assert [(axis.minimum, axis.median, axis.maximum) for axis in found.spacing.axes_mm] == [
        (0.5, 0.5, 0.5),
        (0.5, 0.75, 1.0),
    ]
    assert (found.spacing.anisotropy.minimum, found.spacing.anisotropy.maximum) == (1, 2)


def test_classes_are_measured_where_they_are_shown(found):
    background, brain, csp, lv = found.classes
    assert [each.pixels for each in found.classes] == [350, 48, 2, 0]
    assert (background.share, brain.share, csp.share, lv.share) == (350 / 400, 48 / 400, 2 / 400, 0)
    assert (brain.n_images, brain.n_subjects, brain.presence) == (2, 1, 2 / 3)
    assert (brain.extent_px.minimum, brain.extent_px.median, brain.extent_px.maximum) == (8, 24, 40)
    assert brain.extent_px.p5 == pytest.approx(8 + 0.05 * 32)
    assert (brain.extent_mm.minimum, brain.extent_mm.maximum) == (8 * 0.5, 40 * 0.25)
    assert (csp.of_square.median, csp.extent_mm.median) == (0.02, 1.0)
    assert (lv.extent_px, lv.extent_mm, lv.of_square) == (None, None, None)
    assert [each.name for each in found.structures] == ["brain", "csp"]


def test_what_a_class_fills_counts_on_the_square_of_the_longest_side():
    (_, brain) = extract_fingerprint(
        Fake([("a", "A", "", (150, 50), (10, 20), UNKNOWN)], ("background", "brain"))
    ).classes
    assert brain.of_square.median == 50 / 400
    assert brain.extent_mm is None


def test_cautions_name_what_is_odd(found):
    text = "\n".join(found.warnings)
    assert "no labelled image shows lv" in text
    assert "1 of 3 labelled images show no structure at all" in text
    assert "only 2 subjects are labelled" in text
    assert "unknown for 3 of 5 images" in text
    assert "up to 2.00 times the other" in text
    assert len(found.warnings) == 5


def test_a_sound_dataset_has_no_cautions():
    rows = [(f"{s}{i}", str(s), "", (80, 20), (10, 10), (0.5, 0.5)) for s in range(20) for i in range(2)]
    assert extract_fingerprint(Fake(rows, ("background", "brain"))).warnings == ()
    one_each = extract_fingerprint(Fake(rows[::2], ("background", "brain"))).warnings
    assert len(one_each) == 1
    assert "no two images are of one subject (its rule: a letter)" in one_each[0]
    assert (
        "only 19 subjects are labelled: a test score will rest on 3"
        in extract_fingerprint(Fake(rows[2:], ("b", "c"))).warnings[0]
    )


def test_json_is_the_whole_description(found):
    fields = json.loads(found.to_json())
    assert fields["classes"][1]["extent_px"]["median"] == 24
    assert fields["notes"] == ["a note"]
    assert fields["warnings"] == list(found.warnings)
    assert "NaN" not in found.to_json()


def test_the_summary_says_it_in_lines(found):
    text = "\n".join(found.lines())
    assert "images     5: 3 labelled, 2 unlabelled" in text
    assert "subjects   3, 1 – 2 (median 2) images each; 2 with labels" in text
    assert "3 different sizes; 40.0 % are 10 × 10" in text
    assert "rows 0.5, columns 0.5 – 1 (median 0.75) mm" in text
    assert "known for 2; longest side 1 – 2 (median 1.5) times the shortest" in text
    (row,) = [line for line in found.lines() if line.startswith("brain ")]
    assert row.split() == ["brain", "12.0", "%", "2", "66.7", "%", "24", "(9.6", "–", "38.4)", "7", "(4.3", "–", "9.7)"]
    assert "note: a note" in text
    assert max(map(len, found.lines())) <= 160


def test_only_a_sample_is_decoded_the_same_at_every_call():
    rows = [(str(i), str(i), "", (100, 0), (10, 10), UNKNOWN) for i in range(50)]
    first, again, other = (Fake(rows, ("background", "brain")) for _ in range(3))
    assert extract_fingerprint(first, sample=10).n_sampled == 10
    extract_fingerprint(again, sample=10)
    extract_fingerprint(other, sample=10, seed=1)
    assert len(set(first.decoded)) == 10
    assert first.decoded == again.decoded != other.decoded
    assert extract_fingerprint(Fake(rows, ("background", "brain")), sample=500).n_sampled == 50


def test_grey_values_of_a_known_image(found):
    (grey,) = found.intensity  # rows 0..4 fill 100, 100, 200, 200, 400 pixels
    assert (grey.highest, grey.black) == (255, 0.1)
    assert grey.mean == pytest.approx((1 * 100 + 2 * 200 + 3 * 200 + 4 * 400) / 900)
    assert grey.percentiles == {"1": 1, "5": 1, "25": 2, "50": 3, "75": 4, "95": 4, "99": 4}


@given(st.lists(st.lists(st.integers(0, 255), min_size=1, max_size=40), min_size=1, max_size=4))
def test_grey_values_are_those_of_all_pixels_that_are_not_black(pictures):
    everything = np.concatenate(pictures)
    pixels = everything[everything > 0] if everything.any() else everything
    (grey,) = intensities(np.array(each, np.uint8)[None, :, None] for each in pictures)
    np.testing.assert_allclose(
        [grey.mean, grey.sd, grey.black], [pixels.mean(), pixels.std(), (everything == 0).mean()]
    )
    expected = [sorted(pixels)[max(0, -(-p * len(pixels) // 100) - 1)] for p in PERCENTILES]
    assert list(grey.percentiles.values()) == expected


def test_every_channel_has_its_own_grey_values():
    volume = np.zeros((2, 3, 4, 2), np.uint16)
    volume[..., 1] = 60000
    dark, bright = intensities([volume])
    assert (dark.mean, dark.black, bright.mean, bright.black, bright.highest) == (0, 1, 60000, 0, 65535)


def test_volumes_are_described_by_voxel_and_group():
    rows = [(f"v{i}", f"v{i}", "6m" if i else "24m", (48, 16), (4, 4, 4), (2.0, 1.0, 1.0)) for i in range(3)]
    found = extract_fingerprint(Fake(rows, ("background", "wm")))
    assert found.groups == {"24m": 1, "6m": 2}
    assert found.classes[1].extent_mm.median == 32
    assert found.classes[1].of_square.median == 16 / 64
    text = "\n".join(found.lines())
    assert "volumes    3: 3 labelled" in text
    assert "slices 2, rows 1, columns 1 mm" in text
    assert "voxels: median" in text
    assert "one volume each" in text
    assert not any("no two images" in line for line in found.warnings)


def test_nothing_labelled_is_told_in_one_warning():
    found = extract_fingerprint(
        Fake([("a1", "A", "", None, (10, 10), (1.0, 1.0)), ("a2", "A", "", None, (10, 10), (1.0, 1.0))])
    )
    assert (found.n_pool, found.labelled_a_subject, found.structures) == (2, None, ())
    assert [each.share for each in found.classes] == [None] * 4
    assert len(found.warnings) == 1
    assert "no image is labelled" in found.warnings[0]
    assert not any("of all pixels" in line for line in found.lines())


def test_the_phantom_is_described_from_its_index(data_dir):
    dataset = Dataset("fetal_phantom/tiny", data_dir)
    found = extract_fingerprint(dataset, sample=3)
    assert (found.n_images, found.n_subjects, found.n_labelled) == (24, 8, 24)
    records = list(dataset.records(dataset.names))
    for class_id, each in enumerate(found.classes):
        areas = np.array([(record.labels == class_id).sum() for record in records])
        assert each.pixels == areas.sum()
        mm = [area * record.spacing_mm.prod() for area, record in zip(areas, records, strict=True) if area]
        if mm:
            assert each.extent_mm.median == pytest.approx(np.median(mm), rel=1e-5)
