"""What all tests share: four devices, checked shapes, a place for compiled programs, and the tiny phantom."""

import atexit
import gc
import os
import shutil
import tempfile

# All of this has to be said before jax is imported. Compiled programs are kept between runs where there is a folder for
# them (`make test` names one), else for this process and those that it starts; the user's own cache is left alone.
_CACHE = os.environ.get("FETAL_JAX_TEST_CACHE") or tempfile.mkdtemp(prefix="fetal_jax_tests_")
if "FETAL_JAX_TEST_CACHE" not in os.environ:
    atexit.register(shutil.rmtree, _CACHE, ignore_errors=True)
os.environ["XDG_CACHE_HOME"] = _CACHE
os.environ["JAX_COMPILATION_CACHE_DIR"] = os.path.join(_CACHE, "fetal_jax", "compiled")
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
os.environ["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
os.environ["JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES"] = "none"  # else the key of a program holds the folder's path
os.environ["JAX_PLATFORMS"] = "cpu"
# Four devices on any machine. Networks run for a few steps only, so time goes into compiling: optimise little.
os.environ["XLA_FLAGS"] = (
    "--xla_force_host_platform_device_count=4"
    " --xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
)

import jaxtyping  # noqa: E402
import pytest  # noqa: E402
from absl import flags  # noqa: E402

# Types and shapes in the signatures of these packages are checked at every call. An int may stand for a float.
CHECKED = (
    "fetal_jax.anatomy",
    "fetal_jax.anomaly",
    "fetal_jax.biometry",
    "fetal_jax.core.errors",
    "fetal_jax.core.logits",
    "fetal_jax.core.processes",
    "fetal_jax.core.rng",
    "fetal_jax.core.sharding",
    "fetal_jax.core.types",
    "fetal_jax.evaluate",
    "fetal_jax.evaluation",
    "fetal_jax.inference",
    "fetal_jax.layers",
    "fetal_jax.losses",
    "fetal_jax.methods",
    "fetal_jax.metrics",
    "fetal_jax.models",
    "fetal_jax.pretrained",
    "fetal_jax.reporting",
    "fetal_jax.statistics",
    "fetal_jax.training",
    "input_pipeline",
)
jaxtyping.install_import_hook(CHECKED, "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

pytest_plugins = ("brain_network",)

flags.FLAGS.mark_as_parsed()  # grain reads absl flags


def pytest_collection_modifyitems(items):
    """Slow modules first, so that no process is left alone with them at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
    gc.freeze()  # what is imported by now stays: looking through it again and again takes a tenth of the time


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """A folder in which `fetal_phantom/tiny` is prepared: 8 subjects, 3 frames each, 96 x 128 pixels."""
    from input_pipeline.dataset import prepare

    folder = tmp_path_factory.mktemp("data")
    prepare("fetal_phantom/tiny", folder)
    return folder


@pytest.fixture
def refused(tmp_path, capfd):
    """Asserts that a folder cannot be prepared: one line with these words, nothing printed, and nothing left behind."""
    from fetal_jax.core.types import UserError
    from input_pipeline.dataset import prepare

    def check(dataset, source, message):
        with pytest.raises(UserError, match=message) as caught:
            prepare(dataset, tmp_path / "refused", str(source))
        assert "\n" not in str(caught.value)
        assert list((tmp_path / "refused").iterdir()) == []
        assert capfd.readouterr().err == ""

    return check


@pytest.fixture
def read_or_refused():
    """Harms four bytes of a file between two places, many times over: it is read, or refused in one line."""
    import numpy as np

    from input_pipeline.formats import read

    def check(path, seed, *, times, first, last):
        sound, rng = path.read_bytes(), np.random.default_rng(seed)
        for _ in range(times):
            data = np.frombuffer(sound, np.uint8).copy()
            data[rng.integers(first, last, 4)] = rng.integers(0, 256, 4)
            path.write_bytes(data.tobytes())
            message = "is read"
            try:
                read(path).grey()
            except ValueError as error:
                message = str(error)
            assert message.startswith(("is ", "has "))
            assert "\n" not in message

    return check


@pytest.fixture(scope="session")
def small_network():
    """`case_unet` for 32 x 32 grey images and one class: arguments of build_model, and random weights.

    Weights come from NumPy, a hundred times sooner than `model.init` is compiled.
    """
    import jax
    import numpy as np

    from fetal_jax.core.types import Variables
    from fetal_jax.models import build_model

    settings = {"name": "case_unet", "num_classes": 1, "dropout": 0.1, "bn_momentum": 0.9}
    model = build_model(**settings)
    image = np.zeros((1, 32, 32, 1), np.float32)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), image, train=False))
    rng = np.random.default_rng(0)

    def kernel_or_constant(path, leaf):
        if len(leaf.shape) > 1:
            scale = np.sqrt(2 / np.prod(leaf.shape[:-1]))
            return (scale * rng.standard_normal(leaf.shape)).astype(np.float32)
        name = path[-1].key
        return np.full(leaf.shape, 1.0 if name in ("scale", "var", "variance") else 0.0, np.float32)

    variables = jax.tree_util.tree_map_with_path(kernel_or_constant, shapes)
    return settings, Variables(variables["params"], variables["batch_stats"])


@pytest.fixture(scope="session")
def card(small_network):
    """The model card of `small_network`, as if trained for the cerebellum."""
    from fetal_jax.inference.segmenter import InferenceConfig
    from input_pipeline import builders
    from input_pipeline.dataset import select

    facts, _ = select(builders.facts("fetal_phantom"), ["cerebellum"])
    return InferenceConfig(small_network[0], size=32, blur=0, facts=facts, splits_hash="0" * 64, stage="fine_tune")


@pytest.fixture
def bright_is_foreground(monkeypatch):
    """Every network loaded in this test calls bright pixels foreground: no weights, nothing to compile."""
    import numpy as np

    from fetal_jax.inference import segmenter

    def predict(variables, images):
        return np.concatenate([1 - images, images], -1)

    monkeypatch.setattr(segmenter, "make_predict", lambda model, mesh: predict)
