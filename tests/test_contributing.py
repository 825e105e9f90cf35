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

pytestmark = pytest.mark.slow

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


def follow(project, title):
    """Does in the copy what a section says: writes its files, changes its lines. Gives the section's text."""
    text = section(title)
    for name, code in map(path_and_rest, blocks(text, "python")):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(code, encoding="utf-8")
    changes = blocks(text, "diff")
    for block in changes:
        apply_diff(project, block)
    assert len(changes) == 1  # one file and one line
    return text


METHOD = """
import jax, numpy as np, optax, fetal_jax
from fetal_jax.methods import METHODS, make_method
from fetal_jax.core.types import Batch, Sample, Views
from fetal_jax.models import build_model
from fetal_jax.training.stages import Stage
from fetal_jax.training.state import create_state, create_variables, enter_stage
from fetal_jax.training.step import make_train_step

method, model = make_method("frozen_teacher", {"weight": 2}), build_model("plain_unet", width=2, depth=1)
key = jax.random.key(0)
create = lambda name: create_variables(model, 0, (8, 8, 1), name)
optimizer = lambda hp: optax.identity()
state = enter_stage(create_state(create("student")), None, method, optimizer, create, key)
x = np.random.default_rng(0).random((2, 8, 8, 1), np.float32)
labels, weights = (x[..., 0] > 0.5).astype(np.int32), np.ones((2, 8, 8), np.float32)
batch = Batch(Sample(x, labels, weights), Views(x, (x**2,), None, weights))
hp = Stage("s", 1, 0.1, method, ("labelled", "unlabelled")).hyperparameters(0.5)
step = jax.jit(make_train_step(method, {"student": model}, optimizer, objective="bce_dice"))
state, metrics = step(state, batch, hp, key)
assert hp["teacher_weight"] == 2.0 and metrics["agreement"] > 0
np.testing.assert_allclose(metrics["loss"], metrics["supervised"] + 2 * metrics["agreement"], rtol=1e-5)
"""

LOSS = """
import jax, jax.numpy as jnp, numpy as np
from fetal_jax.losses import compose

logits = jnp.array([[[[0.0], [0.0]], [[0.0], [0.0]]]])  # probability one half in all four pixels
labels, weights = jnp.array([[[1, 0], [0, 0]]]), jnp.array([[[1.0, 1.0], [1.0, 0.0]]])
# TP 0.5, FP 1, FN 0.5 of the three pixels that count: 1 - 0.5 / (0.5 + 0.3 + 0.35)
np.testing.assert_allclose(compose.supervised("tversky")(logits, labels, weights), [1 - 0.5 / 1.15], rtol=1e-4)
assert np.isfinite(jax.grad(lambda x: compose.supervised("tversky")(x, 0 * labels, weights).sum())(logits)).all()
"""


@pytest.mark.slow
def test_the_method_of_the_example(project):
    text = follow(project, "Add a method")
    run(project, sys.executable, "-c", METHOD)
    program, *arguments = blocks(text, "bash")[0].split()
    assert program == "fetal-jax"
    shown = run(project, sys.executable, "-m", "fetal_jax", *arguments)
    assert "stages.retrain.method.name = 'frozen_teacher'" in shown
    assert "stages.retrain.method.weight = 2" in shown


@pytest.mark.slow
def test_the_loss_of_the_example(project):
    follow(project, "Add a loss")
    run(project, sys.executable, "-c", LOSS)
    arguments = ["config", "--config", "configs/supervised.py", "--config.stages.supervised.objective=tversky"]
    assert "objective = 'tversky'" in run(project, sys.executable, "-m", "fetal_jax", *arguments)


@pytest.mark.slow
def test_the_dataset_of_the_example(project):
    text = follow(project, "Add a dataset")
    printed = run(project, sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests")
    assert "2 passed" in printed

    write_raw_folder(project / "raw")
    commands = [line.split() for line in blocks(text, "bash")[0].splitlines()]
    assert {program for program, *_ in commands} == {"fetal-jax"}
    program = "import sys; from fetal_jax.cli.main import main; sys.exit(any(map(main, {})))"
    run(project, sys.executable, "-c", program.format([arguments for _, *arguments in commands]))


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
