"""The manifest of a split keeps everything and refuses what was edited; a request says which key is wrong."""

import dataclasses
import json

import pytest

from fetal_jax.core.types import UserError
from input_pipeline.splits import PARTS, Request, Splits

REQUEST = Request(seed=1, labelled=2, unlabelled=1, validation=0, test=1, stratify=("csp",), labelled_groups=("24m",))
PARTS_OF = {
    "labelled": ("a1", "b1"),
    "unlabelled": ("c1",),
    "validation": (),
    "test": ("d1",),
    "unused": ("d2",),
}
SUBJECTS = {name: name[0] for names in PARTS_OF.values() for name in names}


def manifest(**changes):
    n_subjects = {"labelled": 2, "unlabelled": 1, "validation": 0, "test": 1, "unused": 1}
    showing = {"csp": {"labelled": 1, "unlabelled": 0, "validation": 0, "test": 1, "unused": 0}}
    return dataclasses.replace(Splits("hc18", 1, PARTS_OF, n_subjects, REQUEST, showing), **changes)


def test_json_keeps_everything(tmp_path):
    splits = manifest()
    splits.save(tmp_path / "splits.json")
    assert Splits.load(tmp_path / "splits.json") == splits
    assert [path.name for path in tmp_path.iterdir()] == ["splits.json"]
    fields = json.loads(splits.to_json())
    assert list(fields) == [
        "format",
        "dataset",
        "seed",
        "hash",
        "request",
        "n_images",
        "n_subjects",
        "showing",
        "parts",
    ]
    assert fields["hash"] == splits.hash
    assert fields["request"]["labelled_groups"] == ["24m"]
    assert fields["n_images"] == {"labelled": 2, "unlabelled": 1, "validation": 0, "test": 1, "unused": 1}


def test_a_manifest_of_a_newer_format_is_refused(tmp_path):
    (tmp_path / "splits.json").write_text(manifest().to_json().replace('"format": 1', '"format": 2'))
    with pytest.raises(UserError, match=r"splits\.json: is of format 2, .* a split up to format 1: install a newer"):
        Splits.load(tmp_path / "splits.json")


def test_a_manifest_of_before_requests_were_kept_is_read():
    old = manifest(request=None, showing={})
    fields = {"dataset": "hc18", "seed": 1, "hash": old.hash, "parts": PARTS_OF, "n_subjects": old.n_subjects}
    assert Splits.from_json(json.dumps(fields)) == old
    assert "request" not in json.loads(old.to_json())


def test_the_hash_is_of_dataset_seed_and_parts():
    splits = manifest()
    assert splits.hash == manifest(request=None, showing={}).hash
    moved = PARTS_OF | {"labelled": ("a1",), "unused": ("b1", "d2")}
    assert len({splits.hash, manifest(dataset="x").hash, manifest(seed=2).hash, manifest(parts=moved).hash}) == 4


def test_an_edited_file_is_refused(tmp_path):
    path = tmp_path / "splits.json"
    path.write_text(manifest().to_json().replace('"d1"', '"a2"'))
    with pytest.raises(UserError, match=r"splits\.json: its parts do not match its hash"):
        Splits.load(path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"parts": 3}', manifest().to_json().replace('"fold":', '"flod":')])
def test_a_file_that_is_not_a_split_is_refused(text):
    with pytest.raises(UserError, match=r"splits\.json: is not a split.*: delete the file to assign the images again$"):
        Splits.from_json(text)


def test_a_missing_file_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match=r"splits\.json: cannot be read"):
        Splits.load(tmp_path / "splits.json")


def test_a_leak_is_found_and_named():
    splits = manifest()
    splits.check_subjects(SUBJECTS)
    with pytest.raises(UserError, match="subject 'a' is in both 'test' and 'labelled'"):
        splits.check_subjects(SUBJECTS | {"d1": "a"})
    twice = manifest(parts=PARTS_OF | {"unlabelled": PARTS_OF["test"]})
    with pytest.raises(UserError, match="is in both 'test' and 'unlabelled'"):
        twice.check_subjects(SUBJECTS)
    with pytest.raises(UserError, match="is not in dataset 'hc18'"):
        splits.check_subjects({})


def test_a_request_comes_from_settings_and_goes_to_json():
    fields = dataclasses.asdict(REQUEST)
    assert Request.from_dict(json.loads(json.dumps(fields))) == REQUEST
    short = Request.from_dict({"seed": 0, "labelled": 5, "unlabelled": 0, "validation": 0, "test": 3})
    assert (short.unit, short.stratify, short.folds, short.labelled_groups) == ("images", (), 0, ())
    assert list(short.wanted()) == [part for part in ("test", "validation", "labelled", "unlabelled") if part in PARTS]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tests": 3}, r"'split\.tests' is unknown, nothing reads it: did you mean 'split\.test'"),
        ({"labelled": 0.7}, r"'split\.labelled' must be a whole number: got 0\.7"),
        ({"folds": True}, r"'split\.folds' must be a whole number: got True"),
        ({"unit": 3}, r"'split\.unit' must be text: got 3"),
        ({"stratify": "csp"}, r"'split\.stratify' must be a list: got 'csp'"),
        ({"labelled_groups": [24]}, r"'split\.labelled_groups\.0' must be text: got 24"),
        ({"stratify": None}, r"'split\.stratify' must be a list: got None"),
    ],
)
def test_unknown_settings_and_those_of_another_type_are_user_errors(changes, message):
    with pytest.raises(UserError, match=message):
        Request.from_dict(dataclasses.asdict(REQUEST) | changes)


def test_a_missing_setting_is_named():
    with pytest.raises(UserError, match=r"'split\.test' is missing"):
        Request.from_dict({"seed": 0, "labelled": 5, "unlabelled": 0, "validation": 0})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unit": "subjects"}, r"split\.unit is 'subjects': choose images or percent"),
        ({"labelled": 0}, r"split\.labelled is 0: ask for at least 1"),
        ({"labelled": -2}, r"split\.labelled is -2: ask for 0 images or more, or -1 for all that are left"),
        ({"test": -1}, r"split\.test is -1: ask for 0 images or more$"),
        ({"unit": "percent", "unlabelled": -1}, r"split\.unlabelled is -1: ask for 0 percent or more$"),
        ({"unit": "percent", "labelled": 99, "test": 2}, r"more than 100 percent: lower one of split\.test = 2, "),
        (
            {"unit": "percent", "labelled_groups": ("24m",)},
            r"split\.labelled_groups are named: set split\.unit to images",
        ),
        ({"folds": 1}, r"split\.folds is 1: it must be 0 for none, or at least 2"),
        ({"folds": -5}, r"split\.folds is -5"),
        ({"fold": 2}, r"split\.fold is 2 but split\.folds is 0"),
        ({"folds": 5, "fold": 5, "test": 0}, r"split\.fold is 5: of 5 folds choose 0 to 4"),
        ({"folds": 5, "fold": -1, "test": 0}, r"split\.fold is -1"),
        ({"folds": 5, "fold": 3, "test": 15}, r"split\.test is 15: set it to 0, the test part is fold 3"),
    ],
)
def test_what_no_dataset_could_give_is_a_user_error(changes, message):
    request = dataclasses.replace(REQUEST, labelled_groups=())
    request.check()
    with pytest.raises(UserError, match=message):
        dataclasses.replace(request, **changes).check()
