"""Our side of benchmark.py, in a process of its own. See round_server.py for how it is spoken to."""

import sys

import jax
import numpy as np

from benchmarks.models import costs as model_costs
from benchmarks.round_server import Refusal, serve, timed
from fetal_jax.core import sharding as meshes
from fetal_jax.core.types import Batch, Sample, UserError, Variables
from fetal_jax.methods.supervised import Supervised
from fetal_jax.models import build_model
from fetal_jax.training.optimizers import make_optimizer
from fetal_jax.training.stages import Stage
from fetal_jax.training.state import FIRST, create_state, enter_stage
from fetal_jax.training.step import compile_train_step, make_train_step

CHANNELS = 3
STAGE = Stage(
    name="benchmark",
    epochs=1,
    learning_rate=1e-3,
    method=Supervised(),
    objective="cross_entropy",
    optimizer="adam",
    weight_decay=0.0,
    clip=1.0,
)


def device(platform: str) -> jax.Device:
    """The first device of a platform. Raises Refusal if there is none."""
    try:
        return jax.devices(platform)[0]
    except RuntimeError:
        raise Refusal(f"--platform {platform}: jax sees none here; use --platform cpu") from None


def prepare(model: str, options: dict, task: str, batch: int, size: int, platform: str, precision: str):
    """What to call for a task, and what compiling it took."""
    where = device(platform)
    network = build_model(model, num_classes=1, precision=precision, **options)
    image = model_costs.image_of(batch, (size, size), CHANNELS)
    variables = model_costs.variables_of(network, image)
    make = training if task == "training" else inference
    lowered, call, arguments = make(network, model_costs.random_variables(variables), batch, size, where)
    compiled, seconds = timed(lambda: lowered().compile())
    facts = {
        "compile_s": seconds,
        "parameters": model_costs.count(variables["params"]),
        "temp_mb": model_costs.temporary_bytes(compiled) / 2**20,
        "gflop": model_costs.gflop(*arguments),
        "forward_gflop": model_costs.gflop(model_costs.inference(network), variables, image),
    }
    return call(compiled), facts | {"jax": jax.__version__, "device": where.device_kind}


def inference(network, variables: dict, batch: int, size: int, where: jax.Device):
    """Logits of a batch: how to lower it, how to call it when compiled, and the function with its arguments."""
    options = meshes.compiler_options(meshes.make_mesh([where]))  # as the project's own prediction
    forward = model_costs.inference(network)
    function = jax.jit(forward, compiler_options=options)
    arguments = jax.device_put((variables, images(batch, size)), where)

    def call(compiled):
        return lambda: jax.block_until_ready(compiled(*arguments))

    return lambda: function.lower(*arguments), call, (forward, *arguments)


def training(network, variables: dict, batch: int, size: int, where: jax.Device):
    """A step of the project's own: Adam, clipping, binary cross-entropy, the state donated."""
    optimizer, key = make_optimizer(STAGE.optimizer, STAGE.frozen), jax.random.key(0)
    step = make_train_step(STAGE.method, {FIRST: network}, optimizer, objective=STAGE.objective)
    function = compile_train_step(step, meshes.make_mesh([where]))
    begun = create_state(Variables(variables["params"], variables.get("batch_stats", {})))
    state = enter_stage(begun, None, STAGE.method, optimizer, create=begun.networks.__getitem__, key=key)
    labels = np.random.default_rng(1).integers(0, 2, (batch, size, size))
    data = Batch(Sample(images(batch, size), labels.astype(np.int32), np.ones(labels.shape, np.float32)))
    state, *others = arguments = jax.device_put((state, data, STAGE.hyperparameters(0.0), key), where)

    def call(compiled):
        def step():
            nonlocal state
            state, metrics = compiled(state, *others)
            jax.block_until_ready((state, metrics))

        return step

    return lambda: function.lower(*arguments), call, (function, *arguments)


def images(batch: int, size: int) -> np.ndarray:
    return np.random.default_rng(0).random((batch, size, size, CHANNELS), np.float32)


def peak_device_mb() -> float:
    return jax.devices()[0].memory_stats()["peak_bytes_in_use"] / 2**20


if __name__ == "__main__":
    meshes.keep_freed_memory()
    serve(prepare, peak_device_mb if sys.argv[1] == "gpu" else None, (UserError,))
