"""The worked example "Add a network" of docs/models.md: a file and a line, in a copy of the project, and all works."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

ROOT = pathlib.Path(__file__).parents[2]
FOLDERS = ("fetal_jax", "input_pipeline", "configs", "benchmarks", "experiments", "tests", "docs")
# Run in the copy. The network has no named features, so its explanation goes without Grad-CAM, and says so.
CHECK = """
import os
import jax, numpy as np
import fetal_jax
from fetal_jax.core.types import DatasetFacts, Variables
from fetal_jax.evaluation import explain
from fetal_jax.inference.segmenter import InferenceConfig
from fetal_jax.models import MODELS, build_model, options_of

assert fetal_jax.__file__.startswith(os.getcwd())
assert "tiny_net" in MODELS and set(options_of("tiny_net")) == {"width", "dropout"}

settings = {"name": "tiny_net", "num_classes": 2, "width": 4}
facts = DatasetFacts("d", "D", ("background", "spot"), ((0, 0, 0), (255, 0, 0)), "", "", "")
variables = build_model(**settings).init(jax.random.key(0), np.zeros((1, 16, 16, 1), np.float32), train=False)
card = InferenceConfig(settings, 16, 0, facts, "0" * 64, "supervised")
explainer = explain.Explainer(card, Variables(variables["params"], {}))
found = explainer(np.random.default_rng(0).integers(0, 256, (20, 24, 1), np.uint8))
assert list(found.maps) == ["occlusion"] and found.maps["occlusion"].shape == (20, 24)
assert any(note.startswith("without Grad-CAM: the network names no layer") for note in found.notes), found.notes
"""


@pytest.fixture(scope="module")
def example():
    """The blocks of code of the section: the file, and the line."""
    text = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    section = text.partition("## Add a network\n")[2].partition("\n## ")[0]
    file, line = re.findall(r"```(?:python)?\n(.*?)```", section, re.DOTALL)
    return file, line


@pytest.fixture(scope="module")
def project(tmp_path_factory, example):
    """A copy of the project with the network of the docs."""
    copy = tmp_path_factory.mktemp("project")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "golden"))
    shutil.copy(ROOT / "pyproject.toml", copy)
    file, line = example
    (copy / "fetal_jax" / "models" / "tiny_net.py").write_text(file, encoding="utf-8")
    registry = copy / "fetal_jax" / "models" / "__init__.py"
    text = registry.read_text(encoding="utf-8")
    assert line.count("\n") == 1
    registry.write_text(text.replace("    unet,\n", f"{line}    unet,\n", 1), encoding="utf-8")
    return copy


def run(project, *arguments):
    environment = os.environ | {"PYTHONPATH": str(project)}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=project, env=environment, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_file_and_a_line_make_a_network_that_is_explained(project):
    run(project, "-c", CHECK)


def test_no_test_that_knows_networks_has_to_know_it(project):
    """It keeps the contract of every network, and tests that compare lists of networks pass."""
    files = [f"tests/{name}.py" for name in ("models/test_contract", "models/test_models", "test_configs")]
    files.append("tests/experiments/test_model_table.py")
    chosen = "tiny_net or published or publication or unknown_names"
    printed = run(project, "-m", "pytest", "-p", "no:cacheprovider", "-vv", *files, "-k", chosen)
    assert sum("tiny_net" in line and "PASSED" in line for line in printed.splitlines()) >= 8
