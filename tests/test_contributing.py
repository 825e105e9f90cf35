"""The worked examples of CONTRIBUTING.md, run as they stand there in a copy of the project."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parent.parent
COPIED = ("fetal_jax", "input_pipeline", "configs", "pyproject.toml", "tests/conftest.py", "tests/brain_network.py")


def section(title):
    """The text below a heading of the document."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)[1]


def blocks(text, language):
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def path_and_rest(block):
    """Splits off the first line, `# path/of/the/file`."""
    first, _, rest = block.partition("\n")
    return first.removeprefix("# "), rest


def apply_diff(folder, block):
    """Replaces the text after `-` with that after `+`; it must be in the file once."""
    name, rest = path_and_rest(block)
    old, new = re.fullmatch(r"-(.*)\n\+(.*)\n", rest).groups()
    text = (folder / name).read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{name} has changed: {old}"
    (folder / name).write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture
def project(tmp_path):
    """A copy of what the examples need of the project."""
    folder = tmp_path / "project"
    for name in COPIED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / name)
    return folder


def run(project, *command):
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    environment = inherited | {"PYTHONPATH": str(project), "FETAL_JAX_DATA": str(project / "data")}
    done = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_dataset_of_the_example(project):
    text = section("Add a dataset")
    for name, code in map(path_and_rest, blocks(text, "python")):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(code, encoding="utf-8")
    for block in blocks(text, "diff"):
        apply_diff(project, block)
    printed = run(project, sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests")
    assert "2 passed" in printed

    write_raw_folder(project / "raw")
    for line in blocks(text, "bash")[0].splitlines():
        program, *arguments = line.split()
        assert program == "fetal-jax"
        run(project, sys.executable, "-m", "fetal_jax", *arguments)


def write_raw_folder(folder):
    rng = np.random.default_rng(0)
    folder.mkdir()
    for name in ("S01_a", "S02_a", "S03_a"):
        mask = np.zeros((40, 60), np.uint8)
        mask[10:30, 15:45] = 255
        cv2.imwrite(str(folder / f"{name}.png"), rng.integers(0, 255, mask.shape, np.uint8))
        cv2.imwrite(str(folder / f"{name}_mask.png"), mask)


def test_code_in_the_document_is_formatted(tmp_path):
    ruff = shutil.which("ruff", path=os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.environ["PATH"]]))
    if ruff is None:
        pytest.fail("ruff is not installed: pip install '.[dev]'")
    for i, block in enumerate(blocks((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), "python")):
        (tmp_path / f"block_{i}.py").write_text(path_and_rest(block)[1], encoding="utf-8")
    settings = ["--config", str(ROOT / "pyproject.toml"), "--no-cache", str(tmp_path)]
    for command in (["format", "--check"], ["check", "--ignore", "I001"]):
        done = subprocess.run([ruff, *command, *settings], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
