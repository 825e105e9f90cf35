"""Leaks: splits read from files in each form, and what crosses their parts counted by hand."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetal_jax.core.types import UserError
from input_pipeline.audit.leaks import Leaks, RandomSplit, Shared, find_leaks, random_split, read_parts, resolved

SUBJECTS = {"a1": "a", "a2": "a", "b1": "b", "b2": "b", "c1": "c", "d1": "d", "e1": "e"}


def test_counted_by_hand():
    """a is trained and tested on, b is validated and tested on, d1 is a copy of c1, e is nowhere but unused."""
    parts = {
        "train": ("a1", "c1"),
        "validation": ("b1",),
        "test": ("a2", "b2", "d1"),
        "unused": ("e1",),
    }
    assert find_leaks(parts, SUBJECTS, copies=[("b1", "b2"), ("c1", "d1", "e1"), ("a1", "c1")]) == Leaks(
        n_images={"train": 2, "validation": 1, "test": 3},
        repeated=(),
        shared=(
            Shared(("train", "test"), ("a",), ("a1", "a2")),
            Shared(("validation", "test"), ("b",), ("b1", "b2")),
        ),
        copies=(("b1", "b2"), ("c1", "d1")),
        n_test_subjects=3,
        leaking_test_subjects=("a", "b"),
        n_test_images=3,
        leaking_test_images=("a2", "b2", "d1"),
    )


def test_nothing_leaks_from_a_split_by_subject():
    leaks = find_leaks({"train": ("a1", "a2"), "test": ("b1", "b2")}, SUBJECTS, copies=[("a1", "a2"), ("b1", "e1")])
    assert (leaks.shared, leaks.copies, leaks.repeated) == ((), (), ())
    assert (leaks.leaking_test_subjects, leaks.leaking_test_images) == ((), ())


def test_frames_that_nobody_sees_do_not_leak():
    leaks = find_leaks({"test": ("a1",), "unused": ("a2",)}, SUBJECTS, copies=[("a1", "a2")])
    assert (leaks.shared, leaks.copies, leaks.leaking_test_images) == ((), (), ())


def test_an_image_in_two_parts_is_named():
    leaks = find_leaks({"train": ("a1", "b1"), "Test": ("a1",)}, SUBJECTS, copies=[("a1", "e1")])
    assert leaks.copies == ()  # the copy is in no part
    assert leaks.repeated == ("a1",)
    assert leaks.leaking_test_images == ("a1",)
    assert leaks.leaking_test_subjects == ("a",)


PART = st.sampled_from(["train", "validation", "test", "unused"])


@given(st.lists(PART, min_size=8, max_size=8))
def test_whole_subjects_in_one_part_never_leak(part_of_subject):
    subjects = {f"{i}{frame}": str(i) for i in range(8) for frame in "abc"}
    parts = {part: [n for n, i in subjects.items() if part_of_subject[int(i)] == part] for part in set(part_of_subject)}
    leaks = find_leaks(parts, subjects, copies=[])
    assert (leaks.shared, leaks.repeated, leaks.leaking_test_subjects, leaks.leaking_test_images) == ((), (), (), ())
    assert leaks.n_test_images == 3 * part_of_subject.count("test")


@given(st.lists(PART, min_size=12, max_size=12))
def test_frames_dealt_one_by_one_leak_what_they_share(part_of_image):
    names = [f"{i // 3}{'abc'[i % 3]}" for i in range(12)]
    parts = {part: [n for n, p in zip(names, part_of_image, strict=True) if p == part] for part in set(part_of_image)}
    leaks = find_leaks(parts, {name: name[0] for name in names}, copies=[])
    seen = {name[0]: {p for n, p in zip(names, part_of_image, strict=True) if n[0] == name[0]} for name in names}
    both = [i for i in sorted(seen) if "test" in seen[i] and seen[i] & {"train", "validation"}]
    assert list(leaks.leaking_test_subjects) == both
    assert list(leaks.leaking_test_images) == sorted(n for n in parts.get("test", []) if n[0] in both)


def test_one_image_a_subject_cannot_leak():
    assert random_split({str(i): str(i) for i in range(50)}, seed=0) == RandomSplit(0.2, 200, 0, 10.0, 0.0, 0.0)


def test_one_subject_always_leaks():
    assert random_split({str(i): "same" for i in range(50)}, seed=0) == RandomSplit(0.2, 200, 0, 1.0, 1.0, 100.0)


def test_two_images_a_subject_leak_as_often_as_combinatorics_say():
    """20 of 100 images are tested on. Each has its other frame in training with chance 80/99; 1.92 pairs of the 50
    are expected whole in the test part (50 * 20/100 * 19/99)."""
    drawn = random_split({f"{i}": f"{i // 2}" for i in range(100)}, seed=1)
    assert drawn.leaking_test_subjects == pytest.approx(20 * 80 / 99, abs=0.5)
    assert drawn.test_subjects == pytest.approx(20 - 50 * 20 * 19 / 9900, abs=0.25)
    assert drawn.leaking_percent == pytest.approx(100 * 16.16 / 18.08, abs=1.5)
    assert random_split({f"{i}": f"{i // 2}" for i in range(100)}, seed=1) == drawn


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("split.json", {"parts": {"train": ["a1", "b1"], "test": ["c1"]}}),
        ("split.json", {"train": ["a1", "b1"], "test": ["c1"]}),
        ("split.csv", "name,part\na1,train\nc1,test\nb1,train\n"),
        ("split.CSV", "\ufeffpart, name\r\ntrain, a1\r\ntrain, b1\r\ntest, c1\r\n"),
    ],
)
def test_parts_are_read_from_each_form(tmp_path, name, content):
    assert read_parts(write(tmp_path / name, content)) == {"train": ("a1", "b1"), "test": ("c1",)}


def test_the_split_of_a_run_is_read(tmp_path):
    parts = {"labelled": ["a1"], "unlabelled": [], "validation": ["b1"], "test": ["c1"], "unused": ["a2"]}
    fields = {"dataset": "made", "seed": 0, "hash": "0" * 64, "parts": parts, "n_subjects": {"labelled": 1}}
    assert read_parts(write(tmp_path / "splits.json", fields)) == {part: tuple(names) for part, names in parts.items()}


def test_a_split_of_a_newer_format_is_refused(tmp_path):
    fields = {"format": 1, "parts": {"train": ["a1"], "test": ["c1"]}}
    assert read_parts(write(tmp_path / "splits.json", fields)) == {"train": ("a1",), "test": ("c1",)}
    with pytest.raises(UserError, match=r"splits\.json: is of format 2, .*: install a newer fetal_jax$"):
        read_parts(write(tmp_path / "splits.json", fields | {"format": 2}))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("split.json", ""),
        ("split.json", "[]"),
        ("split.json", "{}"),
        ("split.json", {"train": []}),
        ("split.json", {"train": "a1"}),
        ("split.json", {"train": [1]}),
        ("split.csv", "file,part\na1,train\n"),
        ("split.csv", "name,part\na1\n"),
        ("split.csv", "name,part\n"),
    ],
)
def test_a_file_that_is_not_a_split_is_one_line(tmp_path, name, content):
    with pytest.raises(UserError, match=rf"{name}: is not a split .*: write .* as JSON, or CSV") as error:
        read_parts(write(tmp_path / name, content))
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match=r"none\.json: cannot be read \(No such file"):
        read_parts(tmp_path / "none.json")


def test_names_may_have_the_suffix_of_their_files():
    known = {"a1": "a", "v1.2": "v", "m.png": "m"}
    parts = {"train": ["a1.png", "v1.2", "v1.2.nii.gz"], "test": ["m.png", "a1"]}
    assert resolved(parts, known, "d") == {"train": ("a1", "v1.2", "v1.2"), "test": ("m.png", "a1")}


@pytest.mark.parametrize("name", ["x9", "x9.png", "", ".png", "a1/x.png"])
def test_a_name_that_the_dataset_lacks_is_a_user_error(name):
    with pytest.raises(UserError, match=r"split: image '.*' of part 'test' is not in dataset 'hc18'"):
        resolved({"test": [name]}, SUBJECTS, "hc18")
