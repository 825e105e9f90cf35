"""A prepared dataset: which classes, which facts, and every file decoded once."""

import json
import threading

import numpy as np
import pytest

from fetal_jax.core.types import UserError
from input_pipeline import builders
from input_pipeline.builders.fetal_phantom import FACTS, FetalPhantom
from input_pipeline.builders.fetal_phantom.builder import frame_of
from input_pipeline.builders.folder.dummy import dummy_data
from input_pipeline.dataset import Dataset, NetImages, default_data_dir, list_datasets, prepare, select
from input_pipeline.letterbox import Letterbox

TINY = "fetal_phantom/tiny"


@pytest.fixture(scope="module")
def whole(data_dir):
    return Dataset(TINY, data_dir)


def test_every_example_is_there_under_its_name(whole):
    assert len(whole.names) == len(set(whole.names)) == 24
    assert set(whole.subjects.values()) == {f"S{i:03d}" for i in range(8)}
    assert all(whole.labelled[name] for name in whole.names)


def test_a_record_is_what_the_phantom_drew(whole):
    record = whole["S003_TC_1"]
    drawn = frame_of(FetalPhantom.builder_configs["tiny"], 3, "trans_cerebellum", 1)
    np.testing.assert_array_equal(record.image[..., 0], drawn["image"])
    np.testing.assert_array_equal(record.labels, drawn["labels"])
    np.testing.assert_array_equal(record.spacing_mm, drawn["spacing_mm"])
    assert (record.name, record.subject, record.labelled) == ("S003_TC_1", "S003", True)
    assert record.image.dtype == record.labels.dtype == np.uint8


def test_selected_structures_are_numbered_in_the_order_asked_for(whole, data_dir):
    chosen = Dataset(TINY, data_dir, ("cerebellum", "brain"))
    assert chosen.facts.classes == ("background", "cerebellum", "brain")
    old = {name: FACTS.classes.index(name) for name in FACTS.classes}
    assert chosen.facts.colours == tuple(FACTS.colours[old[name]] for name in chosen.facts.classes)
    for name in whole.names[:4]:
        before, after = whole[name].labels, chosen[name].labels
        np.testing.assert_array_equal(after == 1, before == old["cerebellum"])
        np.testing.assert_array_equal(after == 2, before == old["brain"])
        assert (after == 1).any()
        assert after.max() == 2


def test_no_selection_is_every_structure():
    facts, table = select(FACTS, ())
    assert facts == FACTS
    n = len(FACTS.classes)
    np.testing.assert_array_equal(table[:n], np.arange(n))
    assert (table[n:] == 0).all()


def test_unknown_structures_and_datasets_are_refused(data_dir):
    with pytest.raises(UserError, match=r"structures names 'cerebelum': choose from .*cerebellum"):
        Dataset(TINY, data_dir, ("brain", "cerebelum"))
    with pytest.raises(UserError, match="structures names 'background'"):
        Dataset(TINY, data_dir, ("background",))
    with pytest.raises(UserError, match=r"'fetal_fantom' is unknown: .*did you mean 'fetal_phantom'"):
        Dataset("fetal_fantom", data_dir)
    with pytest.raises(UserError, match=r"has no config 'tinny': choose one of .*tiny"):
        Dataset("fetal_phantom/tinny", data_dir)


def test_a_generated_dataset_takes_no_source(tmp_path):
    with pytest.raises(UserError, match="'fetal_phantom/tiny' is generated: leave out --source"):
        prepare(TINY, tmp_path, str(tmp_path))
    assert list(tmp_path.rglob("*")) == []


def test_records_come_in_the_order_asked_for(whole):
    names = [whole.names[i] for i in (5, 0, 3)]
    assert [record.name for record in whole.records(names)] == names


def test_what_is_prepared_is_listed(data_dir):
    lines = {line.split()[0]: line for line in list_datasets(data_dir)}
    assert sorted(lines) == sorted(builders.all_names())
    assert "24 images" in lines[TINY]
    assert "not prepared" in lines["hc18/training"]


def test_prepared_data_has_its_place(monkeypatch, tmp_path):
    monkeypatch.setenv("FETAL_JAX_DATA", str(tmp_path))
    assert default_data_dir() == tmp_path
    monkeypatch.setenv("FETAL_JAX_DATA", "")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert str(default_data_dir()) == "/home/somebody/.cache/fetal_jax"


def test_images_at_network_size_are_fitted_with_their_labels(whole):
    images = NetImages(whole, whole.names[:3], 32)
    record, item = whole[whole.names[1]], images[1]
    letterbox = Letterbox.fit((96, 128), 32)
    np.testing.assert_array_equal(item["image"], letterbox.image_to_net(record.image))
    np.testing.assert_array_equal(item["labels"], letterbox.labels_to_net(record.labels))
    np.testing.assert_array_equal(item["weights"], letterbox.weights())
    assert len(images) == 3
    assert (item["image"].dtype, item["labels"].dtype, item["weights"].dtype) == (np.uint8, np.uint8, np.float32)
    assert (item["image"][item["weights"] == 0] == 0).all()


def test_every_image_is_decoded_once_also_by_many_threads(whole, monkeypatch):
    decoded, read = [], Dataset.__getitem__

    def counting(self, name):
        decoded.append(name)
        return read(self, name)

    monkeypatch.setattr(Dataset, "__getitem__", counting)
    names = whole.names[:6]
    images = NetImages(whole, names, 32)
    start = threading.Barrier(4)

    def read_all():
        start.wait()
        for i in range(len(images)):
            images[i]

    threads = [threading.Thread(target=read_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert decoded == names


def test_the_index_counts_what_is_selected(data_dir):
    chosen = Dataset(TINY, data_dir, ("cerebellum", "csp"))
    names = chosen.names[:5]
    counted = [np.bincount(chosen[name].labels.ravel(), minlength=3) for name in names]
    np.testing.assert_array_equal(chosen.class_pixels(names), counted)
    assert chosen.class_pixels().shape == (24, 3)
    for name, pixels in zip(names, counted, strict=True):
        assert chosen.shows[name] == {word for word, n in zip(("cerebellum", "csp"), pixels[1:], strict=True) if n}


def test_the_version_is_of_the_classes_too(tmp_path):
    dummy_data(tmp_path / "mine")
    versions = []
    for name in ("head", "tail"):
        (tmp_path / "mine" / "dataset.json").write_text(json.dumps({"classes": ["background", name]}))
        prepare("folder", tmp_path / "data", str(tmp_path / "mine"), overwrite=True)
        versions.append(Dataset("folder", tmp_path / "data").version)
    assert versions[0] != versions[1]


def test_another_folder_is_not_taken_for_the_one_that_is_prepared(tmp_path, capsys):
    for name in ("one", "two"):
        dummy_data(tmp_path / name)
    prepare("folder", tmp_path / "data", str(tmp_path / "one"))
    prepare("folder", tmp_path / "data", str(tmp_path / "one"))
    assert "folder is prepared already in" in capsys.readouterr().err
    with pytest.raises(UserError, match=r"prepared already, from .*one: --overwrite replaces it by .*two \(or"):
        prepare("folder", tmp_path / "data", str(tmp_path / "two"))


def test_a_full_disk_is_told_as_one(data_dir, tmp_path, monkeypatch):
    def fail(self, **kwargs):
        raise RuntimeError("Failed to finalize writing: write() failed: No space left on device")

    monkeypatch.setattr(FetalPhantom, "download_and_prepare", fail)
    with pytest.raises(OSError, match="No space left on device"):
        prepare(TINY, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_was_left_out_is_among_the_notes(tmp_path):
    dummy_data(tmp_path / "mine")
    (tmp_path / "mine" / "images" / "S01_a.png").write_bytes(b"")
    prepare("folder", tmp_path / "data", str(tmp_path / "mine"), keep_going=True)
    assert Dataset("folder", tmp_path / "data").notes == ["1 problems were left out: S01_a.png is empty"]


def test_what_does_not_fit_into_memory_is_decoded_again(data_dir, monkeypatch):
    dataset = Dataset(TINY, data_dir, ("brain",))
    reads = []
    monkeypatch.setattr(
        Dataset, "__getitem__", lambda self, name, get=Dataset.__getitem__: reads.append(name) or get(self, name)
    )
    images = NetImages(dataset, dataset.names[:4], 32, memory=2 * 32 * 32 * 2)
    first = [images[i]["image"] for i in range(4)]
    second = [images[i]["image"] for i in range(4)]
    np.testing.assert_array_equal(first, second)
    assert [reads.count(name) for name in dataset.names[:4]] == [1, 1, 2, 2]


def test_spacing_goes_to_network_size_with_the_image(data_dir):
    dataset = Dataset(TINY, data_dir, ("brain",))
    name = dataset.names[0]
    np.testing.assert_allclose(NetImages(dataset, [name], 32)[0]["spacing_mm"], dataset[name].spacing_mm * 4)
