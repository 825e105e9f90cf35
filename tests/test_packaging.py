"""What a wheel holds, and that the pinned versions are those that the project asks for."""

import pathlib
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import fetal_jax

ROOT = pathlib.Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def lines(name):
    """The lines of a requirements file without comments."""
    rows = (row.partition("#")[0].strip() for row in (ROOT / name).read_text(encoding="utf-8").splitlines())
    return [row for row in rows if row]


def requirements():
    extras = PROJECT["project"]["optional-dependencies"]
    return [Requirement(row) for row in [*lines("requirements.txt"), *extras["dev"], *extras["docs"]]]


@pytest.mark.parametrize("path", sorted(ROOT.glob("constraints-*.txt")), ids=lambda path: path.name)
def test_constraints_pin_a_version_that_is_asked_for(path):
    pins = {canonicalize_name(name): version for name, version in (row.split("==") for row in lines(path.name))}
    for requirement in requirements():
        assert pins[canonicalize_name(requirement.name)] in requirement.specifier, requirement


def test_there_are_constraints_for_each_python_that_is_announced():
    announced = [row.rpartition(" ")[2] for row in PROJECT["project"]["classifiers"] if ":: Python ::" in row]
    assert announced == sorted(path.stem.removeprefix("constraints-") for path in ROOT.glob("constraints-*.txt"))


def test_each_dependency_has_a_reason():
    rows = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert [row for row in rows if not row.startswith("#") and not row.partition("#")[2].strip()] == []


def test_the_version_stands_in_one_place():
    assert "version" not in PROJECT["project"]
    assert PROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "fetal_jax.__version__"}
    assert f"version: {fetal_jax.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_files_that_are_not_python_are_packaged():
    data = PROJECT["tool"]["setuptools"]["package-data"]
    for package in ("fetal_jax", "input_pipeline", "configs"):
        assert (ROOT / package / "py.typed").is_file()
    for path in (ROOT / "fetal_jax").rglob("*.html"):
        package = ".".join(path.relative_to(ROOT).parts[:2])
        folder = ROOT / package.replace(".", "/")
        assert any(path in folder.glob(pattern) for pattern in data[package]), path
