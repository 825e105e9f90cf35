"""Splits: no subject on two sides, the counts asked for, the same whatever the order of the files."""

import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fetal_jax.types import UserError
from input_pipeline.splits import DEALT, PARTS, Splits, make_splits

NAMES = [f"{i:03d}_{frame}" for i in range(20) for frame in ("HC", "2HC")][:36]
SUBJECTS = [name[:3] for name in NAMES]
REQUEST = {"n_labelled": 6, "n_unlabelled": 9, "n_validation": 3, "n_test": 5}


def split(names=NAMES, subjects=SUBJECTS, labelled=None, seed=1, **request):
    labelled = [True] * len(names) if labelled is None else labelled
    return make_splits(names, subjects, labelled, seed=seed, dataset="hc18", **(REQUEST | request))


@st.composite
def datasets(draw):
    """A dataset of subjects with 1 to 4 frames, some without labels, and a request that always fits.

    At most 3 frames are lost wherever a part is full, and an unlabelled frame can be lost with its subject.
    """
    frames = draw(st.lists(st.lists(st.booleans(), min_size=1, max_size=4), min_size=12, max_size=40))
    images = [(f"{s}_{f}", str(s), has) for s, group in enumerate(frames) for f, has in enumerate(group)]
    wholly = sum(1 for group in frames if any(group))
    counts = draw(st.tuples(*[st.integers(0, wholly // 4)] * 3))
    request = dict(zip(("n_validation", "n_test", "n_unlabelled"), counts, strict=True))
    n_labelled = draw(st.integers(1, max(1, wholly // 4)))
    return images, request | {"n_labelled": n_labelled, "seed": draw(st.integers(0, 2**31))}, wholly


@settings(max_examples=80, deadline=None)
@given(datasets(), st.randoms(use_true_random=False))
def test_counts_are_exact_subjects_disjoint_and_order_does_not_matter(dataset, shuffler):
    images, request, labelled_subjects = dataset
    if labelled_subjects == 0:
        with pytest.raises(UserError, match="labels"):
            make_splits(*zip(*images, strict=True), **request)
        return
    splits = make_splits(*zip(*images, strict=True), **request)
    for part in DEALT:
        assert len(splits.parts[part]) == request[f"n_{part}"]
    splits.check_subjects({name: subject for name, subject, _ in images})
    assert sorted(name for part in PARTS for name in splits.parts[part]) == sorted(name for name, _, _ in images)
    has_labels = {name: has for name, _, has in images}
    assert all(has_labels[name] for part in ("labelled", "validation", "test") for name in splits.parts[part])
    shuffled = list(images)
    shuffler.shuffle(shuffled)
    assert make_splits(*zip(*shuffled, strict=True), **request) == splits


def test_another_seed_is_another_split():
    assert split(seed=1).parts != split(seed=2).parts
    assert split(seed=1).hash != split(seed=2).hash


def test_held_out_images_do_not_depend_on_how_many_are_trained_on():
    few, many = split(n_labelled=2, n_unlabelled=0), split(n_labelled=12, n_unlabelled=10)
    assert few.parts["test"] == many.parts["test"]
    assert few.parts["validation"] == many.parts["validation"]
    assert set(few.parts["labelled"]) < set(many.parts["labelled"])


def test_surplus_frames_of_a_subject_are_unused():
    splits = split(
        ["a1", "a2", "a3", "b1"], ["a", "a", "a", "b"], n_labelled=1, n_unlabelled=0, n_validation=0, n_test=1
    )
    (held_out,), (trained_on,) = splits.parts["test"], splits.parts["labelled"]
    assert {held_out, trained_on} == {"a1", "b1"}
    assert splits.parts["unused"] == ("a2", "a3")
    assert splits.n_subjects == {"labelled": 1, "unlabelled": 0, "validation": 0, "test": 1, "unused": 1}


def test_images_without_labels_are_only_ever_unlabelled():
    labelled = [i < 20 for i in range(36)]
    splits = split(labelled=labelled, n_labelled=10, n_test=6, n_validation=2, n_unlabelled=16)
    held_out_or_labelled = {name for part in ("labelled", "validation", "test") for name in splits.parts[part]}
    assert held_out_or_labelled <= set(NAMES[:20])
    assert set(splits.parts["unlabelled"]) & set(NAMES[20:])


def test_the_hash_is_stable():
    """A golden value: a change would deal every published split anew."""
    assert split().hash == "861647f93d61a904889f3719ad6fa4e984199a0c9870b03ea79a609186474728"


def test_json_keeps_everything(tmp_path):
    splits = split()
    splits.save(tmp_path / "splits.json")
    assert Splits.load(tmp_path / "splits.json") == splits
    assert [path.name for path in tmp_path.iterdir()] == ["splits.json"]
    fields = json.loads(splits.to_json())
    assert list(fields) == ["dataset", "seed", "hash", "parts", "n_subjects"]
    assert fields["hash"] == splits.hash
    assert fields["n_subjects"]["test"] == len({name[:3] for name in splits.parts["test"]})


def test_an_edited_file_is_refused(tmp_path):
    path = tmp_path / "splits.json"
    path.write_text(split().to_json().replace(split().parts["test"][0], "999_HC"))
    with pytest.raises(UserError, match=r"splits\.json: its parts do not match its hash"):
        Splits.load(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"parts": 3}'])
def test_a_file_that_is_no_split_is_refused(text):
    with pytest.raises(UserError, match=r"splits\.json: not a split"):
        Splits.from_json(text)


def test_a_missing_file_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match=r"splits\.json: cannot be read"):
        Splits.load(tmp_path / "splits.json")


def test_a_leak_is_found_and_named():
    splits = split(["a1", "b1", "c1"], ["a", "b", "c"], n_labelled=1, n_unlabelled=0, n_validation=1, n_test=1)
    splits.check_subjects({"a1": "a", "b1": "b", "c1": "c"})
    with pytest.raises(UserError, match="subject 'same' is in both 'test' and 'validation'"):
        splits.check_subjects(dict.fromkeys(("a1", "b1", "c1"), "same"))
    twice = dataclasses.replace(splits, parts=splits.parts | {"unlabelled": splits.parts["test"]})
    with pytest.raises(UserError, match="is in both 'test' and 'unlabelled'"):
        twice.check_subjects({"a1": "a", "b1": "b", "c1": "c"})
    with pytest.raises(UserError, match="is not in dataset 'hc18'"):
        splits.check_subjects({})


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"n_labelled": 0}, r"split\.labelled is 0: ask for at least 1"),
        ({"n_test": -1}, r"split\.test is -1"),
        ({"n_test": 40}, r"split\.test asks for 40 images but only 36 are left for it: there are 36 images"),
        (
            {"n_unlabelled": 99},
            r"split\.unlabelled asks for 99 .* split\.labelled = 6, split\.unlabelled = 99",
        ),
    ],
)
def test_too_much_asked_for_is_a_user_error(request_, message):
    with pytest.raises(UserError, match=message):
        split(**request_)


def test_no_labels_at_all_is_a_user_error():
    with pytest.raises(UserError, match=r"split\.labelled asks for 6 images, but none of 36 has labels"):
        split(labelled=[False] * 36)


def test_a_name_that_occurs_twice_is_a_user_error():
    with pytest.raises(UserError, match="'000_HC' occurs twice"):
        split([*NAMES, "000_HC"], [*SUBJECTS, "000"])
