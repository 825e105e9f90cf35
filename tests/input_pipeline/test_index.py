"""The index: its rows are the examples, and its digest is of their every pixel, whatever their order."""

import dataclasses
import pathlib
import shutil
from typing import ClassVar

import numpy as np
import pytest
import tensorflow_datasets as tfds
from hypothesis import given, settings
from hypothesis import strategies as st

from fetal_jax.core.types import DatasetFacts
from input_pipeline import index as indices
from input_pipeline.builders import common
from input_pipeline.dataset import Dataset
from input_pipeline.index import FILE, Index, open_index

FACTS = DatasetFacts("tiny", "Tiny", ("background", "a", "b"), ((0, 0, 0), (1, 1, 1), (2, 2, 2)), "", "", "")


class TinyImages(common.SourceBuilder):
    """The examples that it is made with."""

    FACTS = FACTS

    def __init__(self, examples, **kwargs):
        self._examples = examples
        super().__init__(source="memory", file_format="array_record", **kwargs)

    def read(self, source):
        return common.SourceReport(self._examples, [])

    def examples(self, items):
        yield from items


class TinyVolumes(TinyImages):
    """The same with two modalities in three dimensions."""

    FACTS: ClassVar = dataclasses.replace(FACTS, channels=2, dims=3)

    def make_features(self):
        return common.volume_features(channels=2)


def image(name, seed=0, labelled=True):
    rng = np.random.default_rng(seed)
    return {
        "image": rng.integers(0, 256, (5, 7), np.uint8),
        "labels": rng.integers(0, 3, (5, 7), np.uint8) if labelled else np.zeros((5, 7), np.uint8),
        "labelled": labelled,
        "spacing_mm": np.float32([0.5, 0.25]),
        "subject": f"subject of {name}",
        "name": name,
    }


def volume(name, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "image": rng.integers(0, 2**16, (3, 5, 7, 2), np.uint16),
        "labels": rng.integers(0, 3, (3, 5, 7), np.uint8),
        "labelled": True,
        "spacing_mm": np.float32([2, 0.5, 0.25]),
        "subject": name,
        "name": name,
        "group": "24 months",
    }


def prepared(examples, data_dir, cls=TinyImages):
    builder = cls(examples, data_dir=str(data_dir))
    tfds.disable_progress_bar()
    builder.download_and_prepare()
    return builder


def three():
    return [image("p"), image("q", seed=1), image("r", seed=2, labelled=False)]


def changed(key, edit):
    examples = three()
    value = np.array(examples[1][key])
    examples[1][key] = edit(value)
    return examples


def put(position, add):
    def edit(array):
        array[position] += add
        return array

    return edit


@pytest.fixture(scope="module")
def digest(tmp_path_factory):
    return indices.make(prepared(three(), tmp_path_factory.mktemp("three"))).digest


@pytest.mark.parametrize(
    ("key", "edit"),
    [
        ("image", put((4, 6), 1)),
        (
            "labels",
            lambda labels: np.where(np.arange(35).reshape(5, 7) == 3, (labels + 1) % 3, labels).astype(np.uint8),
        ),
        ("spacing_mm", put(1, np.float32(1e-6))),
        ("subject", lambda subject: f"{subject}!"),
        ("name", lambda name: f"{name}!"),
        ("labelled", lambda labelled: False),
    ],
    ids=["pixel", "label", "spacing", "subject", "name", "labelled"],
)
def test_the_digest_changes_with_one_number(key, edit, digest, tmp_path):
    assert indices.make(prepared(changed(key, edit), tmp_path)).digest != digest


def test_the_digest_is_of_the_examples_and_not_of_their_order(digest, tmp_path):
    assert len(digest) == 64
    in_order = indices.make(prepared(three(), tmp_path / "forward"))
    backwards = indices.make(prepared(three(), tmp_path / "backward", Backwards))
    assert backwards.names == in_order.names[::-1]
    assert backwards.digest == in_order.digest == digest


class Backwards(TinyImages):
    """The records the other way round: TFDS fixes their order by their names."""

    def as_data_source(self, **kwargs):
        records = super().as_data_source(**kwargs)
        return [records[i] for i in reversed(range(len(records)))]


def test_rows_are_the_examples_in_their_order(tmp_path):
    builder = prepared(three(), tmp_path)
    index = indices.make(builder)
    examples = {example["name"]: example for example in three()}
    decoded = list(builder.as_data_source(split=common.SPLIT))
    assert list(index.names) == [example["name"].decode() for example in decoded]
    for i, name in enumerate(index.names):
        assert index.subjects[i] == examples[name]["subject"]
        assert index.labelled[i] == examples[name]["labelled"]
        assert index.groups[i] == ""
        np.testing.assert_array_equal(index.shapes[i], [5, 7])
        np.testing.assert_array_equal(index.spacing_mm[i], examples[name]["spacing_mm"])
        counts = [(decoded[i]["labels"] == k).sum() for k in range(3)]
        np.testing.assert_array_equal(index.pixels[i], counts if examples[name]["labelled"] else [0, 0, 0])
    assert index.pixels.dtype == np.int64


@settings(max_examples=10, deadline=None)
@given(ids=st.lists(st.integers(0, 255), min_size=1, max_size=4))
def test_the_table_reaches_to_the_highest_class_id(ids, tmp_path_factory):
    examples = [image(f"image {i}") | {"labels": np.full((5, 7), k, np.uint8)} for i, k in enumerate(ids)]
    index = indices.make(prepared(examples, tmp_path_factory.mktemp("ids")))
    assert index.pixels.shape == (len(ids), max(ids) + 1)
    for i, name in enumerate(index.names):
        assert index.pixels[i].tolist() == [35 * (k == ids[int(name.split()[1])]) for k in range(max(ids) + 1)]


def same(a: Index, b: Index) -> bool:
    fields = dataclasses.fields(Index)
    return all(np.array_equal(getattr(a, field.name), getattr(b, field.name)) for field in fields)


def test_what_is_written_is_read(tmp_path):
    examples = [*three(), image("ümlaut, comma; 头", seed=3) | {"subject": ""}]
    made = indices.make(prepared(examples, tmp_path / "data"))
    indices.write(tmp_path / FILE, made)
    found = indices.read(tmp_path / FILE)
    assert same(found, made)
    assert "ümlaut, comma; 头" in found.names
    for key in ("labelled", "shapes", "spacing_mm", "pixels"):
        assert getattr(found, key).dtype == getattr(made, key).dtype
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == [FILE]


def test_an_index_of_one_example_survives_the_file(tmp_path):
    made = indices.make(prepared([image("only", labelled=False)], tmp_path / "data"))
    assert made.pixels.tolist() == [[0]]
    indices.write(tmp_path / FILE, made)
    assert same(indices.read(tmp_path / FILE), made)


def test_it_is_made_once_and_then_read(tmp_path, monkeypatch):
    builder = prepared(three(), tmp_path)
    made = open_index(builder)
    assert (builder.data_path / FILE).is_file()
    monkeypatch.delattr(indices, "make")
    assert same(open_index(builder), made)


def test_data_prepared_before_there_was_an_index_gets_one_when_it_is_opened(data_dir, tmp_path):
    old = shutil.copytree(data_dir, tmp_path / "data")
    (path,) = old.rglob(FILE)
    before = indices.read(path)
    path.unlink()
    dataset = Dataset("fetal_phantom/tiny", old)
    assert same(indices.read(path), before)
    assert same(dataset.index, before)


def test_volumes_have_rows_too(tmp_path):
    examples = [volume("p"), volume("q", seed=1)]
    builder = prepared(examples, tmp_path / "one", TinyVolumes)
    index = open_index(builder)
    assert index.groups == ("24 months",) * 2
    np.testing.assert_array_equal(index.shapes, [[3, 5, 7]] * 2)
    np.testing.assert_array_equal(index.spacing_mm, np.float32([[2, 0.5, 0.25]] * 2))
    for i, name in enumerate(index.names):
        labels = next(example["labels"] for example in examples if example["name"] == name)
        assert index.pixels[i].tolist() == np.bincount(labels.ravel(), minlength=3).tolist()
    assert same(indices.read(pathlib.Path(builder.data_dir, FILE)), index)
    examples[0]["image"][2, 4, 6, 1] ^= 1
    assert open_index(prepared(examples, tmp_path / "two", TinyVolumes)).digest != index.digest
    examples[0]["image"][2, 4, 6, 1] ^= 1
    examples[0]["group"] = "18 months"
    assert open_index(prepared(examples, tmp_path / "three", TinyVolumes)).digest != index.digest
