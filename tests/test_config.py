"""Configs: loading, overriding, refusing what is unknown or unread, and the config of a workdir."""

import json
import os

import pytest

from fetal_jax import config
from fetal_jax.types import UserError

SOURCE = """
from ml_collections import ConfigDict

def get_config(argument=""):
    settings = {"argument": argument, "seed": 0, "rate": 1e-3, "flip": False, "names": ("a", "b"), "tags": ["x"]}
    return ConfigDict(settings | {"model": {"name": "unet", "dropout": 0.1}})
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "example.py"
    path.write_text(SOURCE)
    return path


def test_a_config_is_plain_data(path):
    settings = config.load(str(path))
    assert settings["names"] == ["a", "b"]
    assert settings["model"] == {"name": "unet", "dropout": 0.1}
    assert settings == json.loads(json.dumps(settings))


@pytest.mark.parametrize("argument", ["", "hc18", "dataset=hc18,size=128", "a:b"])
def test_the_argument_reaches_get_config(path, argument):
    assert config.load(f"{path}:{argument}")["argument"] == argument


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("seed", "12", 12),
        ("rate", "3", 3.0),
        ("rate", "1e-4", 1e-4),
        ("flip", "true", True),
        ("flip", "False", False),
        ("names", "c,d,e", ["c", "d", "e"]),
        ("names", "c", ["c"]),
        ("names", "", []),
        ("tags", "y,z", ["y", "z"]),
        ("model.name", "case_unet", "case_unet"),
        ("model.dropout", "0", 0.0),
    ],
)
def test_an_override_takes_the_type_of_what_it_overrides(path, key, text, value):
    settings = config.load(str(path), [(key, text)])
    for part in key.split("."):
        settings = settings[part]
    assert settings == value
    assert type(settings) is type(value)


def test_the_last_override_wins_and_the_rest_stays(path):
    settings = config.load(str(path), [("seed", "1"), ("seed", "2")])
    assert settings == config.load(str(path)) | {"seed": 2}


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("seed", "1.5", "'seed' must be of type int: got '1.5'"),
        ("seed", "", "'seed' must be of type int"),
        ("rate", "fast", "'rate' must be of type float: got 'fast'"),
        ("flip", "1", "'flip' must be of type bool: got '1'"),
        ("model.nme", "x", "'model.nme' is unknown: did you mean 'model.name'"),
        ("sed", "1", "did you mean 'seed'"),
        ("zzzzzz", "1", "known keys are .*model.dropout"),
        ("seed.x", "1", "'seed.x' is unknown"),
        ("model.name.x", "1", "'model.name.x' is unknown"),
        ("nothing.x", "1", "'nothing.x' is unknown"),
        ("model", "unet", "'model' is a group: set one of model.dropout, model.name"),
    ],
)
def test_a_wrong_override_names_its_key_and_the_remedy(path, key, text, message):
    with pytest.raises(UserError, match=message):
        config.load(str(path), [(key, text)])


def test_a_file_that_is_no_config_is_refused(path):
    with pytest.raises(UserError, match=r"nowhere\.py is no such Python file"):
        config.load(str(path.with_name("nowhere.py")))
    path.with_name("notes.txt").write_text(SOURCE)
    with pytest.raises(UserError, match=r"notes\.txt is no such Python file"):
        config.load(str(path.with_name("notes.txt")))
    path.write_text("x = 1\n")
    with pytest.raises(UserError, match=r"example\.py has no get_config"):
        config.load(str(path))


def test_settings_remember_what_was_read():
    settings = config.Settings({"seed": 1, "model": {"name": "unet", "dropout": 0.1}, "split": {"test": {"n": 3}}})
    assert settings.unread() == ["seed", "model.name", "model.dropout", "split.test.n"]
    assert settings.seed == 1
    assert settings.model.name == "unet"
    assert settings.unread() == ["model.dropout", "split.test.n"]
    with pytest.raises(UserError, match=r"'model\.dropout' is read by nothing"):
        config.reject_unread(settings)
    assert settings.split.to_dict() == {"test": {"n": 3}}
    assert settings.model.dropout == 0.1
    config.reject_unread(settings)


def test_a_key_that_is_not_there_is_named_in_full():
    settings = config.Settings({"model": {"name": "unet"}})
    with pytest.raises(UserError, match=r"'model\.depth' is missing"):
        _ = settings.model.depth


def test_differences_are_dotted_and_sorted():
    old = {"seed": 0, "model": {"name": "unet", "dropout": 0.1}, "tags": ["a"], "gone": None}
    new = {"seed": 0, "model": {"name": "case_unet", "dropout": 0.1}, "tags": ["a", "b"], "new": 1}
    assert config.differences(old, new) == ["gone", "model.name", "new", "tags"]
    assert config.differences(old, old) == []


def test_a_workdir_keeps_its_config(path, tmp_path):
    workdir, settings = tmp_path / "runs" / "first", config.load(str(path))
    config.write_or_compare(settings, workdir)
    config.write_or_compare(config.load(str(path)), workdir)
    assert config.read(workdir) == settings
    assert os.listdir(workdir) == ["config.json"]


def test_a_workdir_refuses_another_config_and_stays_as_it_is(path, tmp_path):
    workdir = tmp_path / "run"
    config.write_or_compare(config.load(str(path)), workdir)
    before = (workdir / "config.json").read_bytes()
    with pytest.raises(UserError, match=r"run belongs to another config \(model\.dropout differs\)"):
        config.write_or_compare(config.load(str(path), [("model.dropout", "0.2")]), workdir)
    assert (workdir / "config.json").read_bytes() == before


def test_a_write_that_fails_leaves_no_config(path, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        config.write_or_compare(config.load(str(path)), tmp_path / "run")
    with pytest.raises(UserError, match=r"run is not a workdir \(no config\.json\)"):
        config.read(tmp_path / "run")
