"""Who may import whom. The picture of the house, held by its syntax trees."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PACKAGES = ("fetal_jax", "input_pipeline", "configs", "experiments")

BASE = {"types", "classes", "rngs", "atomic", "ellipse", "growth"}  # what every room may import
TOP = {
    "__main__",
    "cli",
    "cli_data",
    "cautions",
    "chosen",
    "cli_scores",
    "cli_summary",
    "cli_weights",
    "comparison",
    "evaluated",
    "examples",
    "experiment",
    "findings",
    "normals",
    "table_check",
    "outcome",
    "refusal",
    "run",
    "submission",
    "volumes",
    "workdir",
}  # what may import every room
# What a room of fetal_jax may import from the others, beside BASE.
ROOMS = {
    "types": set(),
    "classes": set(),
    "rngs": set(),
    "atomic": set(),
    "ellipse": set(),
    "growth": set(),
    "layers": set(),
    "losses": set(),
    "metrics": set(),
    "statistics": set(),
    "biometry": {"statistics"},
    "anomaly": {"biometry"},
    "models": {"layers"},
    "pretrained": {"models"},
    "mesh": set(),
    "checkpoint": set(),
    "writers": set(),
    "config": set(),
    "training": {"models", "losses", "metrics", "checkpoint", "mesh", "writers"},
    "evaluation": {
        "models",
        "metrics",
        "statistics",
        "biometry",
        "anomaly",
        "mesh",
        "input_pipeline.transforms",
        "input_pipeline.tiles",
        "input_pipeline.augment",
        "input_pipeline.images",
        "input_pipeline.formats",
    },
}
# Rooms that take plain arguments.
PLAIN = ("layers", "models", "losses", "metrics", "statistics", "biometry", "anomaly")
FRAMEWORKS = {"ml_collections", "absl", "orbax", "grain", "tensorflow_datasets"}


def modules():
    """Every module of the project by dotted name."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


SOURCES = dict(modules())


def imports(path):
    """The dotted names that a file imports, also inside functions. `from a import b` gives `a.b`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_within(name, allowed):
    return name == allowed or name.startswith(allowed + ".")


def room_of(name):
    """`training` of `fetal_jax.training.steps`; "" for `fetal_jax` itself and for its attributes."""
    return name.split(".")[1] if name.count(".") else ""


def ours(name):
    return name.split(".")[0] in PACKAGES


def violations(name, allowed):
    """Imports of our own packages that no allowed prefix covers."""
    return [
        target
        for target in imports(SOURCES[name])
        if ours(target) and not any(is_within(target, prefix) for prefix in allowed)
    ]


def of(package):
    return [name for name in SOURCES if name.split(".")[0] == package]


def test_the_parser_sees_imports_wherever_they_are(tmp_path):
    path = tmp_path / "example.py"
    path.write_text("import a.b\nfrom c.d import e, f\n\ndef g():\n    from h import i\n")
    assert list(imports(path)) == ["a.b", "c.d.e", "c.d.f", "h.i"]


@pytest.mark.parametrize("name", [n for n in of("fetal_jax") if room_of(n) not in TOP])
def test_rooms_import_only_what_they_may(name):
    room = room_of(name)
    if room == "":  # fetal_jax itself: one function that loads a model
        allowed = {"fetal_jax.evaluation.segmenter"}
    else:
        assert room in ROOMS, f"{name} is in a room that the picture does not have"
        rooms = BASE | {room} | {target for target in ROOMS[room] if "." not in target}
        allowed = {f"fetal_jax.{target}" for target in rooms} | {t for t in ROOMS[room] if "." in t}
    assert violations(name, allowed) == []


@pytest.mark.parametrize("name", of("input_pipeline"))
def test_the_input_pipeline_knows_only_the_shared_types_and_how_to_write(name):
    shared = {f"fetal_jax.{module}" for module in ("types", "atomic", "ellipse", "growth")}
    assert violations(name, {"input_pipeline", *shared}) == []
    assert not {target.split(".")[0] for target in imports(SOURCES[name])} & {"jax", "flax", "optax", "orbax"}


@pytest.mark.parametrize("name", of("configs"))
def test_configs_are_data(name):
    # A config may be a variant of another one.
    allowed = {"configs"} | ({"fetal_jax.types.UserError"} if name == "configs.common" else set())
    assert violations(name, allowed) == []
    others = {target.split(".")[0] for target in imports(SOURCES[name])} - set(PACKAGES)
    assert others <= {"ml_collections", *sys.stdlib_module_names}


@pytest.mark.parametrize("name", [n for n in SOURCES if room_of(n) in PLAIN and n.startswith("fetal_jax")])
def test_networks_losses_and_metrics_take_plain_arguments(name):
    assert not {target.split(".")[0] for target in imports(SOURCES[name])} & FRAMEWORKS


def test_only_the_checkpoints_know_orbax():
    users = [name for name in SOURCES if any(is_within(target, "orbax") for target in imports(SOURCES[name]))]
    assert users == ["fetal_jax.checkpoint"]


def test_nothing_below_the_top_imports_the_top():
    for name in SOURCES:
        if room_of(name) in TOP or name.startswith("experiments"):
            continue
        reached = [t for t in imports(SOURCES[name]) if t.startswith("fetal_jax.") and room_of(t) in TOP]
        assert reached == [], name


@pytest.mark.parametrize("module", ["fetal_jax", "fetal_jax.cli"])
def test_the_door_is_light(module):
    program = f"import sys, {module}; print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = {name.split(".")[0] for name in ast.literal_eval(done.stdout)}
    assert module.split(".")[0] in loaded
    heavy = {"jax", "numpy", "flax", "cv2", "grain", "orbax", "tensorflow_datasets", "ml_collections", "matplotlib"}
    assert not loaded & heavy
