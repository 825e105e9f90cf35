"""Replaced whole or not at all: failing writers, kills between two renames, leftovers of earlier kills."""

import pathlib
import subprocess
import sys

import pytest

from fetal_jax.core.atomic import replacing_file, replacing_folder, surviving_folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def tree(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


def make(folder, **files):
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)


def test_a_file_is_written_beside_and_then_replaced(tmp_path):
    path = tmp_path / "scores.v2.csv"
    path.write_text("old")
    with replacing_file(str(path)) as partial:
        assert partial.parent == tmp_path
        assert partial.suffix == ".csv"
        partial.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert names(tmp_path) == ["scores.v2.csv"]


@pytest.mark.parametrize("failure", [OSError("disk full"), KeyboardInterrupt()])
@pytest.mark.parametrize("old", ["old", None])
def test_a_writer_that_fails_leaves_the_old_file_and_no_partial(tmp_path, failure, old):
    path = tmp_path / "scores.csv"
    if old:
        path.write_text(old)
    with pytest.raises(type(failure)), replacing_file(path) as partial:  # noqa: PT012
        partial.write_text("half")
        raise failure
    assert names(tmp_path) == (["scores.csv"] if old else [])
    assert not old or path.read_text() == old


def test_a_file_that_cannot_be_renamed_leaves_no_partial(tmp_path):
    make(tmp_path / "scores.csv", inside="a folder has the name")
    with pytest.raises(OSError), replacing_file(tmp_path / "scores.csv") as partial:  # noqa: PT011
        partial.write_text("new")
    assert names(tmp_path) == ["scores.csv"]


def test_the_leftover_of_a_kill_is_written_over(tmp_path):
    path = tmp_path / "scores.csv"
    with pytest.raises(RuntimeError), replacing_file(path) as partial:
        raise RuntimeError
    partial.write_text("much longer than what is written now")
    with replacing_file(path) as again:
        again.write_text("new")
    assert tree(tmp_path) == {"scores.csv": "new"}


def test_a_folder_is_replaced_whole(tmp_path):
    model = tmp_path / "runs" / "model"
    with replacing_folder(model) as partial:
        (partial / "weights").write_text("1")
        assert not model.exists()
    with replacing_folder(str(model)) as partial:
        assert names(partial) == []
        (partial / "card").write_text("2")
        assert tree(model) == {"weights": "1"}
    assert tree(model) == {"card": "2"}
    assert names(tmp_path / "runs") == ["model"]


@pytest.mark.parametrize("failure", [OSError("disk full"), KeyboardInterrupt()])
def test_a_folder_that_fails_leaves_the_old_one_and_no_partial(tmp_path, failure):
    make(tmp_path / "model", weights="1")
    with pytest.raises(type(failure)), replacing_folder(tmp_path / "model") as partial:  # noqa: PT012
        (partial / "weights").write_text("half")
        raise failure
    assert names(tmp_path) == ["model"]
    assert tree(tmp_path / "model") == {"weights": "1"}


def test_a_second_rename_that_fails_moves_the_old_folder_back(tmp_path, monkeypatch):
    make(tmp_path / "model", weights="1")
    rename = pathlib.Path.rename

    def fail_on_partial(path, target):
        if path.suffix == ".partial":
            raise OSError("no rights")
        return rename(path, target)

    monkeypatch.setattr(pathlib.Path, "rename", fail_on_partial)
    with pytest.raises(OSError, match="no rights"), replacing_folder(tmp_path / "model"):
        pass
    assert names(tmp_path) == ["model"]
    assert tree(tmp_path / "model") == {"weights": "1"}


KILLED = """
import os, pathlib, sys
from fetal_jax.core.atomic import replacing_folder

def rename(path, target, really=pathlib.Path.rename):
    really(path, target)
    os._exit(9)  # the first rename moves the old folder aside; the second one never comes

pathlib.Path.rename = rename
with replacing_folder(sys.argv[1]) as partial:
    (partial / "weights").write_text("2")
"""


def test_a_kill_between_the_two_renames_loses_nothing(tmp_path):
    model = tmp_path / "model"
    make(model, weights="1")
    assert subprocess.run([sys.executable, "-c", KILLED, str(model)]).returncode == 9
    assert names(tmp_path) == ["model.old", "model.partial"]
    assert tree(surviving_folder(model)) == {"weights": "1"}
    with pytest.raises(RuntimeError), replacing_folder(model):  # noqa: PT012
        assert tree(model) == {"weights": "1"}, "moved back before anything is written"
        raise RuntimeError
    assert surviving_folder(model) == model
    with replacing_folder(model) as partial:
        (partial / "weights").write_text("3")
    assert tree(model) == {"weights": "3"}
    assert names(tmp_path) == ["model"]


def test_a_kill_before_the_old_folder_is_removed_keeps_the_new_one(tmp_path):
    make(tmp_path / "model", weights="2")
    make(tmp_path / "model.old", weights="1")
    assert tree(surviving_folder(tmp_path / "model")) == {"weights": "2"}
    with replacing_folder(tmp_path / "model") as partial:
        (partial / "weights").write_text("3")
    assert names(tmp_path) == ["model"]
    assert tree(tmp_path / "model") == {"weights": "3"}
