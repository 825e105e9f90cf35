"""The data commands, from raw files to records, a description, an audit and a split."""

import functools
import hashlib
import http.server
import json
import pathlib
import shutil
import threading

import cv2
import pytest

from configs import common
from fetal_jax.cli import data as cli_data
from fetal_jax.cli.main import main
from fetal_jax.core import config
from fetal_jax.core.atomic import locked
from fetal_jax.experiment import Experiment
from input_pipeline import download
from input_pipeline.builders.fetal_head_biometry.dummy import dummy_data as biometry_dummy
from input_pipeline.builders.fetal_planes.dummy import dummy_data as planes_dummy
from input_pipeline.builders.folder.dummy import dummy_data as folder_dummy
from input_pipeline.builders.hc18.dummy import dummy_data as hc18_dummy
from input_pipeline.dataset import Dataset

TINY = "fetal_phantom/tiny"


def run(*arguments):
    return main([str(argument) for argument in arguments])


def data(data_dir, *arguments):
    return run("--data-dir", data_dir, "data", *arguments)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def record(tmp_path, monkeypatch):
    """Publishes a folder as the record of HC18 on this machine, packed as `training_set.zip`; gives its address."""
    served = tmp_path / "served"
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=served))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"

    def publish(folder, checksum=None):
        served.mkdir()
        archive = pathlib.Path(shutil.make_archive(str(served / "training_set"), "zip", folder))
        md5 = checksum or hashlib.md5(archive.read_bytes()).hexdigest()
        links = {"self": f"{url}/{archive.name}"}
        entry = {"key": archive.name, "size": archive.stat().st_size, "checksum": f"md5:{md5}", "links": links}
        (served / "1").write_text(json.dumps({"files": [entry]}))
        monkeypatch.setitem(download.RECORDS, "hc18", download.Record(1, ("training_set*",), base_url=url))

    yield publish
    server.shutdown()
    server.server_close()


def test_a_download_is_fetched_once_and_prepared(record, tmp_path, capsys):
    hc18_dummy(tmp_path / "published" / "HC18")
    record(tmp_path / "published")  # one folder around everything, as archives often have
    assert data(tmp_path / "data", "prepare", "hc18", "--download") == 0
    assert "hc18: 8 images in" in capsys.readouterr().out
    shutil.rmtree(tmp_path / "served")
    assert data(tmp_path / "data", "prepare", "hc18", "--download", "--overwrite") == 0
    assert len(Dataset("hc18", tmp_path / "data")) == 8


def test_a_download_that_is_not_what_was_published_prepares_nothing(record, tmp_path, capsys):
    hc18_dummy(tmp_path / "published")
    record(tmp_path / "published", checksum="0" * 32)
    assert data(tmp_path / "data", "prepare", "hc18", "--download") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "training_set.zip" in line
    assert not (tmp_path / "data" / "hc18").exists()


def test_what_is_not_offered_is_not_downloaded(tmp_path, capsys):
    assert data(tmp_path, "prepare", "folder", "--download") == 2
    assert "dataset 'folder' is not offered for download: give --source" in capsys.readouterr().err


def test_planes_go_by_their_option_and_bad_files_can_be_left_out(tmp_path, capsys):
    planes_dummy(tmp_path / "raw")
    (tmp_path / "raw" / "Images" / "Patient00002_Plane3_1_of_4.png").write_bytes(b"")
    arguments = ("prepare", "fetal_planes:plane=trans-cerebellum", "--source", tmp_path / "raw")
    assert data(tmp_path / "data", *arguments) == 2
    assert "Patient00002_Plane3_1_of_4.png is empty" in capsys.readouterr().err
    assert list((tmp_path / "data").iterdir()) == []
    assert data(tmp_path / "data", *arguments, "--keep-going") == 0
    said = capsys.readouterr()
    assert said.err.splitlines() == ["left out: Patient00002_Plane3_1_of_4.png is empty"]
    assert "3 images in" in said.out


@pytest.mark.slow
def test_describe_writes_what_it_says_and_a_config_that_loads(data_dir, tmp_path, capsys):
    assert data(data_dir, "describe", TINY, "--out", tmp_path / "out") == 0
    said = capsys.readouterr().out
    assert "24: 24 labelled, 0 unlabelled" in said
    assert cv2.imread(str(tmp_path / "out" / "contact_sheet.png")).shape[1] > 600
    assert json.loads((tmp_path / "out" / "description.json").read_text())
    settings = config.load(str(tmp_path / "out" / "config.py"))
    assert settings["dataset"] == TINY


def test_a_suggested_config_describes_a_run(data_dir, tmp_path):
    assert data(data_dir, "describe", TINY, "--out", tmp_path) == 0
    experiment = Experiment(config.load(str(tmp_path / "config.py")), data_dir)
    assert experiment.splits.n_images["test"] > 0


def test_a_pool_without_labels_is_described_and_no_config_suggested(tmp_path, capsys):
    planes_dummy(tmp_path / "raw", n_masks=0)
    plane = "fetal_planes:plane=trans-thalamic"
    assert data(tmp_path / "data", "prepare", plane, "--source", tmp_path / "raw") == 0
    assert data(tmp_path / "data", "describe", plane, "--out", tmp_path / "out") == 0
    assert "no config is suggested" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"contact_sheet.png", "description.json"}


@pytest.mark.slow
def test_an_audit_of_a_split_by_images_names_the_subjects_that_leak(data_dir, tmp_path, capsys):
    names = Dataset(TINY, data_dir).names
    rows = [f"{name},{'test' if name.endswith('_0') else 'train'}" for name in names]
    (tmp_path / "split.csv").write_text("\n".join(["name,part", *rows]))
    arguments = ("audit", TINY, "--splits", tmp_path / "split.csv", "--out", tmp_path / "out")
    assert data(data_dir, *arguments) == 0
    assert "8 of 8" in capsys.readouterr().out
    found = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert "S003" in json.dumps(found["leaks"])
    assert cv2.imread(str(tmp_path / "out" / "audit.png")) is not None


def test_a_split_is_made_by_a_published_protocol(tmp_path, capsys):
    hc18_dummy(tmp_path / "raw", n_subjects=20)
    assert data(tmp_path / "data", "prepare", "hc18", "--source", tmp_path / "raw") == 0
    out = tmp_path / "splits.json"
    assert data(tmp_path / "data", "split", "hc18", "--protocol", "ss_case_unet", "--out", out) == 2
    assert "split.test asks for 40 images" in capsys.readouterr().err
    assert data(tmp_path / "data", "split", "hc18", "--protocol", "nnunet", "--out", out) == 2
    assert "--protocol nnunet is unknown: choose one of ss_case_unet, trans_thalamic" in capsys.readouterr().err
    assert not out.exists()


def test_a_manifest_is_written_with_its_hash(tmp_path, capsys, monkeypatch):
    folder_dummy(tmp_path / "raw")
    assert data(tmp_path / "data", "prepare", "folder", "--source", tmp_path / "raw") == 0
    halves = {"unit": "percent", "labelled": 60, "unlabelled": 0, "validation": 0, "test": 40}
    monkeypatch.setitem(common.SPLITS, "halves", halves)
    out = tmp_path / "splits.json"
    assert data(tmp_path / "data", "split", "folder", "--protocol", "halves", "--out", out) == 0
    written = json.loads((tmp_path / "splits.json").read_text())
    assert written["hash"][:16] in capsys.readouterr().out
    assert written["request"]["unit"] == "percent"


def test_a_protocol_is_stratified_by_the_structures_that_a_variant_has(tmp_path, capsys, monkeypatch):
    halves = {"unit": "percent", "labelled": 50, "unlabelled": 0, "validation": 0, "test": 50}
    monkeypatch.setitem(common.SPLITS, "halves", halves | {"stratify": ("csp", "lv")})
    biometry_dummy(tmp_path / "raw")
    variant, out = "fetal_head_biometry:variant=csp", tmp_path / "splits.json"
    assert data(tmp_path / "data", "prepare", variant, "--source", tmp_path / "raw") == 0
    assert data(tmp_path / "data", "split", variant, "--protocol", "halves", "--out", out) == 0
    assert json.loads(out.read_text())["request"]["stratify"] == ["csp"]
    capsys.readouterr()
    missing = tmp_path / "no" / "splits.json"
    assert data(tmp_path / "data", "split", variant, "--protocol", "halves", "--out", missing) == 2
    assert "give a file in a folder that exists" in capsys.readouterr().err


def test_preparing_again_needs_the_files_again(tmp_path, capsys):
    hc18_dummy(tmp_path / "raw")
    assert data(tmp_path / "data", "prepare", "hc18", "--source", tmp_path / "raw") == 0
    assert data(tmp_path / "data", "prepare", "hc18", "--overwrite") == 2
    assert "--overwrite prepares hc18 from its files again: name their folder with --source" in capsys.readouterr().err
    assert len(Dataset("hc18", tmp_path / "data")) == 8


def test_what_a_killed_preparation_left_goes_with_the_next_one(tmp_path):
    hc18_dummy(tmp_path / "raw")
    (tmp_path / "data" / ".preparing-killed" / "hc18").mkdir(parents=True)
    held = tmp_path / "data" / ".preparing-alive"
    held.mkdir()
    with locked(held):
        assert data(tmp_path / "data", "prepare", "hc18", "--source", tmp_path / "raw") == 0
    assert {path.name for path in (tmp_path / "data").iterdir()} == {"hc18", ".preparing-alive"}


def test_an_interrupted_command_says_so_in_one_line(data_dir, monkeypatch, capsys):
    def interrupt(args):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli_data, "_list", interrupt)
    assert data(data_dir, "list") == 130
    assert capsys.readouterr().err.split("\n") == ["", "fetal-jax: interrupted; nothing half-written is left", ""]


def test_listing_names_every_dataset(data_dir, capsys):
    assert data(data_dir, "list") == 0
    listed = {line.split()[0] for line in capsys.readouterr().out.splitlines()}
    assert {TINY, "hc18/training", "fetal_planes/brain", "folder"} <= listed


def test_the_innermost_folder_is_the_one_that_holds_several_things(tmp_path):
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    for name in ("x", "y"):
        (inner / name).mkdir()
    (tmp_path / download.MARKER).write_text("{}")
    assert cli_data._innermost(tmp_path) == inner
