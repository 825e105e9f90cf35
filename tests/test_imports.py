"""Who may import whom: an ordered list of layers, held by the syntax trees of the code."""

import ast
import functools
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PACKAGES = ("fetal_jax", "input_pipeline", "configs", "experiments", "benchmarks")

# From the bottom to the top. A package imports those of the layers below its own, and never one beside it.
LAYERS = (
    ("fetal_jax.core",),
    ("fetal_jax.anatomy", "fetal_jax.layers"),
    ("fetal_jax.models", "fetal_jax.losses", "fetal_jax.metrics", "fetal_jax.statistics"),
    ("fetal_jax.pretrained", "fetal_jax.biometry"),
    ("fetal_jax.anomaly",),
    ("input_pipeline", "configs"),
    ("fetal_jax.methods",),
    ("fetal_jax.training", "fetal_jax.inference"),
    ("fetal_jax.workdir", "fetal_jax.experiment"),
    ("fetal_jax.evaluation",),
    ("fetal_jax.reporting",),
    ("fetal_jax.train", "fetal_jax.evaluate"),
    ("fetal_jax.cli",),
    ("benchmarks",),
    ("experiments",),
)
# Less than the layers allow: these know how data is held and drawn, and nothing of networks.
DATA_ONLY = {"input_pipeline": ("fetal_jax.core", "fetal_jax.anatomy"), "configs": ("fetal_jax.core",)}
# Packages that take plain arguments: no config object, no flag, no file format of a run.
PLAIN = tuple(f"fetal_jax.{name}" for name in ("layers", "models", "losses", "metrics", "methods", "statistics"))
FRAMEWORKS = {"ml_collections", "absl", "orbax", "grain", "tensorflow_datasets"}
COMPUTE = {"jax", "flax", "optax", "orbax"}


def modules():
    """Every module of the project by dotted name."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


SOURCES = dict(modules())


def imports(text):
    """The dotted names that a source imports, also inside functions. `from a import b` gives `a.b`."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@functools.cache
def imports_of(name):
    return tuple(imports(SOURCES[name].read_text()))


def is_within(name, package):
    return name == package or name.startswith(package + ".")


def place(name):
    """The layer of a module or of one of its members, and the package of that layer; None: in no layer."""
    for level, packages in enumerate(LAYERS):
        for package in packages:
            if is_within(name, package):
                return level, package
    return None


def ours(name):
    return name.split(".")[0] in PACKAGES


def of(*packages):
    return [name for name in SOURCES if any(is_within(name, package) for package in packages)]


def outside(names):
    return {name.split(".")[0] for name in names} - set(PACKAGES)


def test_the_parser_sees_imports_wherever_they_are():
    text = "import a.b\nfrom c.d import e, f\n\ndef g():\n    from h import i\n"
    assert list(imports(text)) == ["a.b", "c.d.e", "c.d.f", "h.i"]


def test_every_module_is_in_a_layer():
    assert [name for name in SOURCES if place(name) is None] == ["fetal_jax", "fetal_jax.__main__"]


@pytest.mark.slow
def test_imports_go_down_the_layers():
    wrong = []
    for name in SOURCES:
        if place(name) is None:
            continue
        level, package = place(name)
        for target in filter(ours, imports_of(name)):
            below = place(target)
            if below is None and target.startswith("fetal_jax.") and target.count(".") == 1:
                continue  # a member of fetal_jax itself: its version, or one of its functions
            if below is None or not (below[1] == package or below[0] < level):
                wrong.append(f"{name} imports {target}")
    assert wrong == []


@pytest.mark.parametrize("package", DATA_ONLY)
def test_data_knows_only_the_core(package):
    for name in of(package):
        mine = [target for target in imports_of(name) if ours(target)]
        assert [t for t in mine if not any(is_within(t, p) for p in (package, *DATA_ONLY[package]))] == [], name
        assert not outside(imports_of(name)) & COMPUTE, name


def test_configs_are_data():
    for name in of("configs"):
        assert outside(imports_of(name)) <= {"ml_collections", *sys.stdlib_module_names}, name


def test_networks_losses_metrics_and_methods_take_plain_arguments():
    for name in of(*PLAIN):
        assert not outside(imports_of(name)) & FRAMEWORKS, name


def test_only_the_checkpoints_know_orbax():
    users = [name for name in SOURCES if any(is_within(target, "orbax") for target in imports_of(name))]
    assert users == ["fetal_jax.training.checkpoints"]


@pytest.mark.parametrize("module", ["fetal_jax", "fetal_jax.cli.main"])
def test_the_door_is_light(module):
    program = f"import sys, {module}; print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = {name.split(".")[0] for name in ast.literal_eval(done.stdout)}
    assert module.split(".")[0] in loaded
    heavy = {"jax", "numpy", "flax", "cv2", "grain", "orbax", "tensorflow_datasets", "ml_collections", "matplotlib"}
    assert not loaded & heavy
