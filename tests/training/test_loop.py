"""The loop on a network that takes no time: killed in every gap between two writes it ends in the same bits."""

import dataclasses
import functools
import io
import itertools
import json
import os
import shutil
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from flax import linen as nn

from fetal_jax.core.sharding import make_mesh
from fetal_jax.core.types import Batch, Preempted, Sample, Variables, Views
from fetal_jax.methods import make_method
from fetal_jax.training import loop
from fetal_jax.training.checkpoints import Checkpoints
from fetal_jax.training.components import LoopComponents
from fetal_jax.training.metric_writer import Progress, RunWriter
from fetal_jax.training.monitor import Diverged
from fetal_jax.training.optimizers import make_optimizer
from fetal_jax.training.stages import Stage
from fetal_jax.training.state import create_state, create_variables
from fetal_jax.training.step import compile_train_step, make_train_step

SIZE, N_POOL, PER_EPOCH, EPOCHS = 8, 2, 2, 2
SUPERVISED, SELF_TRAINING = make_method("supervised", {}), make_method("self_training", {})
BOTH = ("labelled", "unlabelled")
STAGES = (
    Stage("decoder", EPOCHS, 0.02, SUPERVISED, frozen=("encoder",)),
    Stage("fine_tune", EPOCHS, 0.02, SUPERVISED),
    Stage("retrain", EPOCHS, 0.02, SELF_TRAINING, BOTH, "naive"),
)
LAST_STEP = len(STAGES) * EPOCHS * PER_EPOCH
# What an undisturbed run writes in the two epochs of a stage. `score` gets worse once the encoder moves.
EPOCH = ["train"] * PER_EPOCH + ["validation"]
DECODER = ["stage", *EPOCH, "best", "latest", *EPOCH, "best", "latest", "stage", "network"]
OTHERS = [*EPOCH, "best", "latest", *EPOCH, "latest", "stage", "network"]
WRITES = [*DECODER, "stage", *OTHERS, "labels", "stage", *OTHERS]


class Block(nn.Module):
    """Convolution and BatchNorm: a parameter group of a network."""

    features: int

    @nn.compact
    def __call__(self, x, moving):
        return nn.BatchNorm(not moving, momentum=0.9)(nn.Conv(self.features, (3, 3), use_bias=False)(x))


class TinyNet(nn.Module):
    """Two groups that can be frozen, and dropout."""

    @nn.compact
    def __call__(self, image, *, train, frozen=()):
        x = nn.relu(Block(4, name="encoder")(image, train and "encoder" not in frozen))
        x = nn.Dropout(0.3)(x, deterministic=not train)
        return Block(1, name="decoder")(x, train and "decoder" not in frozen)


MODEL = TinyNet()


@functools.cache
def initial_state():
    return create_state(create("student"))


def create(name):
    return create_variables(MODEL, 0, (SIZE, SIZE, 1), name)


def optimizer_of(stage):
    return make_optimizer(stage.optimizer, stage.frozen)


@functools.cache
def mesh():
    return make_mesh(jax.devices()[:1])


@functools.cache
def compiled(method, frozen):
    """Every stage of every run here asks for the same few programs."""
    models = dict.fromkeys(method.networks, MODEL)
    step = make_train_step(method, models, make_optimizer("adam", frozen), objective="bce_dice", frozen=frozen)
    return compile_train_step(step, mesh())


def compile_step(stage):
    return compiled(stage.method, stage.frozen)


@jax.jit
def foreground(variables, images):
    return jax.nn.sigmoid(MODEL.apply(variables.as_dict(), images, train=False)[..., 0])


def score(variables: Variables) -> dict[str, float]:
    """Better while the decoder moves away from its start, worse while the encoder does."""
    first = initial_state().networks["student"].params

    def moved(group):
        pairs = jax.tree.map(lambda a, b: float(jnp.abs(a - b).sum()), variables.params[group], first[group])
        return sum(jax.tree.leaves(pairs))

    return {"dice": moved("decoder") / (1 + 100 * moved("encoder"))}


def images(seed, n):
    return np.random.default_rng(seed).random((n, SIZE, SIZE, 1), np.float32)


class Batches:
    """An iterator whose whole state is how many batches it gave. Batch `poisoned` is not a number."""

    def __init__(self, seed, steps, pool_labels, poisoned):
        self.seed, self.steps, self.pool_labels, self.poisoned, self.given = seed, steps, pool_labels, poisoned, 0

    def __next__(self):
        if self.given == self.steps:
            raise StopIteration
        image = images([self.seed, self.given], 4 if self.pool_labels is None else 4 - N_POOL)
        labels, views = (image[..., 0] > 0.6).astype(np.int32), None
        if self.pool_labels is not None:
            weak = images(99, N_POOL)
            views = Views(weak, (weak**2,), self.pool_labels.astype(np.int32), np.ones(weak.shape[:-1], np.float32))
        if self.given == self.poisoned:
            image = image * np.float32(np.nan)
        self.given += 1
        return Batch(Sample(image, labels, np.ones(labels.shape, np.float32)), views)

    def get_state(self):
        return {"given": self.given}

    def set_state(self, state):
        self.given = state["given"]


@dataclasses.dataclass
class Data:
    seed: int
    pool_labels: np.ndarray | None
    poisoned: int | None = None
    steps_per_epoch: int = PER_EPOCH

    def iterator(self, steps, shard):
        assert shard == (0, 1)
        return Batches(self.seed, steps, self.pool_labels, self.poisoned)


def write_arrays(path, tree):
    """As everything a run writes: whole or not at all."""
    path.parent.mkdir(exist_ok=True)
    partial = path.with_suffix(".partial.npz")
    np.savez(partial, *jax.tree.leaves(tree))
    os.replace(partial, path)


def read_arrays(path):
    with np.load(path) as arrays:
        return [arrays[name] for name in arrays]


def train(workdir, *, written=lambda what: None, poisoned=None, **replaced):
    """`train.train` for the tiny network, from objects of its own. `written` is called after every write."""

    def watched(function, what):
        def write(*args, **kwargs):
            function(*args, **kwargs)
            written(what or args[1])  # the kind of a line

        return write

    label, keep = watched(write_arrays, "labels"), watched(write_arrays, "network")
    entered, teachers = {}, {}

    def resolve(index, published):
        stage = STAGES[index]
        if published is not None:
            teachers[stage.name] = jax.tree.map(np.array, published)
        if not stage.pseudo_labeller:
            return stage, Data(index, None, poisoned if index == 1 else None)
        path = workdir / "labels" / f"{stage.name}.npz"
        if published is not None:
            label(path, np.asarray(foreground(published, images(99, N_POOL)) > 0.5))
        return stage, Data(index, read_arrays(path)[0])

    class Watched(LoopComponents):
        def enter(self, state, index, stage):
            state = super().enter(state, index, stage)
            if all(
                isinstance(leaf, jax.Array) and not isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(state)
            ):
                entered[stage.name] = jax.tree.map(np.array, state)
            return state

    def finish(stage, best):
        path = workdir / "stages" / f"{stage.name}.npz"
        if not path.exists():
            keep(path, best())

    checkpoints, log = Checkpoints(workdir), io.StringIO()
    with RunWriter(workdir, resume_step=checkpoints.latest_step) as writer:
        parts = Watched(
            stages=STAGES,
            resolve=resolve,
            make_optimizer=optimizer_of,
            compile_step=compile_step,
            create=create,
            kept=lambda name: None,
            validate=score,
            finish=finish,
            stop=lambda: False,
            checkpoints=checkpoints,
            writer=writer,
            progress=Progress(LAST_STEP, stream=log),
            mesh=mesh(),
            seed=0,
            validate_every=1,
            log_every=1,
        )
        parts = dataclasses.replace(parts, **replaced)
        checkpoints.save_latest = watched(checkpoints.save_latest, "latest")
        checkpoints.save_best = watched(checkpoints.save_best, "best")
        writer.scalars = watched(writer.scalars, None)
        fresh = checkpoints.latest_progress() is None
        try:
            loop.run_protocol(parts, initial_state() if fresh else jax.eval_shape(initial_state))
        finally:
            checkpoints.close()
    return SimpleNamespace(entered=entered, teachers=teachers, log=log.getvalue())


def latest(workdir):
    """State and progress of the latest bundle; the progress without the seconds, which are never the same."""
    checkpoints = Checkpoints(workdir)
    parts = SimpleNamespace(
        checkpoints=checkpoints, stages=STAGES, make_optimizer=optimizer_of, create=create, mesh=mesh(), seed=0
    )
    parts.enter = functools.partial(LoopComponents.enter, parts)
    with pytest.MonkeyPatch.context() as patch:  # the stand-in has what `resume` reads, and is not `LoopComponents`
        patch.setattr(jaxtyping.config, "jaxtyping_disable", True)
        state, position = loop.resume(parts, jax.eval_shape(initial_state))
    checkpoints.close()
    return state, dataclasses.replace(position, seconds={})


def lines(workdir):
    read = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [{name: value for name, value in line.items() if name != "seconds"} for line in read]


def network(workdir, stage):
    return read_arrays(workdir / "stages" / f"{stage}.npz")


def same(first, second):
    assert jax.tree.structure(first) == jax.tree.structure(second)
    return all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True))


def assert_same_end(workdir, other):
    for stage in STAGES:
        assert same(network(workdir, stage.name), network(other, stage.name))
    (state, position), (other_state, other_position) = latest(workdir), latest(other)
    assert same(state, other_state)
    assert position == other_position
    assert lines(workdir) == lines(other)
    for name in ("latest", "best"):
        folders = [sorted(path.name for path in (run / "checkpoints" / name).iterdir()) for run in (workdir, other)]
        assert folders[0] == folders[1]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A run that nobody disturbs, and what a kill after each of its writes would leave: a copy of its folder."""
    folder = tmp_path_factory.mktemp("runs")
    workdir, copies, written, scored = folder / "whole", folder / "copies", [], []

    def copy(what):
        written.append(what)
        shutil.copytree(workdir, copies / str(len(written)))

    def validate(variables):
        scored.append(jax.tree.map(np.array, variables))
        return score(variables)

    ran = train(workdir, written=copy, validate=validate)
    state, position = latest(workdir)
    return SimpleNamespace(
        workdir=workdir,
        copies=copies,
        written=written,
        scored=scored,
        entered=ran.entered,
        teachers=ran.teachers,
        state=state,
        at=position,
    )


@pytest.mark.slow
def test_what_is_written_and_when(undisturbed):
    assert undisturbed.written == WRITES
    assert int(undisturbed.state.step) == LAST_STEP
    assert undisturbed.at.stage == len(STAGES) - 1
    assert undisturbed.at.data == {"given": EPOCHS * PER_EPOCH}
    losses = [(line["step"], line["loss"]) for line in lines(undisturbed.workdir) if line["kind"] == "train"]
    assert [step for step, _ in losses] == list(range(1, LAST_STEP + 1))
    assert np.isfinite([loss for _, loss in losses]).all()


@pytest.mark.slow
@pytest.mark.parametrize("write", range(1, len(WRITES) + 1))
def test_killed_between_any_two_writes_a_run_ends_in_the_same_bits(undisturbed, tmp_path, write):
    workdir = tmp_path / "killed"
    shutil.copytree(undisturbed.copies / str(write), workdir)
    train(workdir)
    assert_same_end(workdir, undisturbed.workdir)


@pytest.mark.slow
def test_killed_in_the_middle_of_writes_a_run_ends_in_the_same_bits(undisturbed, tmp_path):
    """Half a bundle in both checkpoints, a torn line, and half a file of labels."""
    workdir = tmp_path / "killed"
    shutil.copytree(undisturbed.copies / str(WRITES.index("labels")), workdir)
    for name in ("latest", "best"):
        half = workdir / "checkpoints" / name / f"{LAST_STEP}.orbax-checkpoint-tmp"
        half.mkdir()
        (half / "state").write_text("half")
    with (workdir / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "train", "st')
    (workdir / "labels").mkdir()
    (workdir / "labels" / "retrain.partial.npz").write_bytes(b"PK")
    train(workdir)
    assert_same_end(workdir, undisturbed.workdir)


@pytest.mark.slow
def test_the_best_network_of_every_stage_is_kept(undisturbed):
    kept = [network(undisturbed.workdir, stage.name) for stage in STAGES]
    first, second = undisturbed.scored[:2]
    assert score(second)["dice"] > score(first)["dice"]
    assert same(kept[0], jax.tree.leaves(second))
    for best, (first, second) in zip(kept[1:], (undisturbed.scored[2:4], undisturbed.scored[4:6]), strict=True):
        assert score(first)["dice"] > score(second)["dice"]
        assert same(best, jax.tree.leaves(first))


def test_a_frozen_group_keeps_its_parameters_and_its_statistics(undisturbed):
    before, after = (state.networks["student"] for state in (initial_state(), undisturbed.entered["fine_tune"]))
    last = undisturbed.state.networks["student"]
    assert same(after.params["encoder"], before.params["encoder"])
    assert same(after.batch_stats["encoder"], before.batch_stats["encoder"])
    assert not same(after.params["decoder"], before.params["decoder"])
    assert not same(after.batch_stats["decoder"], before.batch_stats["decoder"])
    assert not same(last.params["encoder"], before.params["encoder"])
    assert not same(last.batch_stats["encoder"], before.batch_stats["encoder"])


def test_the_network_that_enters_the_labelling_stage_is_the_teacher(undisturbed):
    entered = undisturbed.entered
    assert list(undisturbed.teachers) == [stage.name for stage in STAGES]
    for stage in STAGES:
        assert same(undisturbed.teachers[stage.name], entered[stage.name].networks["student"])
    assert same(undisturbed.teachers["retrain"], undisturbed.scored[3])  # the last of fine_tune, not its best
    assert not same(undisturbed.state.networks["student"], undisturbed.teachers["retrain"])


def test_the_protocol_is_in_every_checkpoint(undisturbed):
    assert undisturbed.at.protocol == "DECODER → FINE_TUNE → LABEL → RETRAIN → DONE"


@pytest.mark.slow
@pytest.mark.parametrize(("asked", "step"), [(1, 1), (3, 2), (7, 5)])
def test_a_run_that_is_asked_to_stop_saves_first(undisturbed, tmp_path, asked, step):
    """`stop` is asked after every step and after every epoch: one answer an epoch more than it has steps."""
    answers = itertools.count(1)
    with pytest.raises(Preempted):
        train(tmp_path / "run", stop=lambda: next(answers) >= asked)
    state, position = latest(tmp_path / "run")
    assert int(state.step) == step
    assert (position.stage, position.step) == divmod(step, EPOCHS * PER_EPOCH)
    assert position.data == {"given": position.step}
    train(tmp_path / "run")
    assert_same_end(tmp_path / "run", undisturbed.workdir)


def assert_finite(tree):
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))


@pytest.mark.slow
@pytest.mark.parametrize("batch", [2, 3])
def test_a_loss_that_is_not_a_number_stops_the_run_before_it_is_saved(tmp_path, batch):
    """The poisoned batch is the first or the last of the second epoch of fine_tune."""
    with pytest.raises(Diverged, match=rf"the loss is nan at step {5 + batch}, in stage fine_tune: lower stages"):
        train(tmp_path, poisoned=batch)
    state, position = latest(tmp_path)
    assert (position.stage, position.step, int(state.step)) == (1, 2, 6)
    assert_finite(state)
    with pytest.raises(Diverged, match="in stage fine_tune"):  # going on does not help
        train(tmp_path, poisoned=batch)


def test_an_update_that_is_not_finite_stops_the_run_before_it_is_saved(tmp_path, monkeypatch):
    wild = dataclasses.replace(STAGES[1], learning_rate=1e30)
    monkeypatch.setattr(f"{__name__}.STAGES", (STAGES[0], wild, STAGES[2]))
    with pytest.raises(Diverged, match=r"the update norm is inf at step 5, in stage fine_tune: lower stages\.fine"):
        train(tmp_path)
    state, position = latest(tmp_path)
    assert (position.stage, position.step, int(state.step)) == (0, 4, 4)
    assert_finite(state)


@pytest.mark.slow
def test_a_network_whose_output_is_not_a_number_is_not_saved(tmp_path):
    calls = itertools.count(1)

    def validate(variables):
        if next(calls) == 4:
            raise FloatingPointError
        return score(variables)

    with pytest.raises(Diverged, match=r"output is not a number after step 8, in stage fine_tune: lower"):
        train(tmp_path, validate=validate)
    assert int(latest(tmp_path)[0].step) == 6
    assert [path.name for path in (tmp_path / "checkpoints" / "best").iterdir()] == ["6"]


@pytest.mark.slow
def test_without_validation_images_the_last_network_is_kept(undisturbed, tmp_path):
    ran = train(tmp_path, validate=lambda variables: {})
    lasts = undisturbed.scored[1::2]
    for stage, last in zip(STAGES, lasts, strict=True):
        assert same(network(tmp_path, stage.name), jax.tree.leaves(last))
    assert "validation" not in ran.log
    assert "validation" not in {line["kind"] for line in lines(tmp_path)}


@pytest.mark.slow
def test_a_dice_that_is_undefined_is_told_and_the_run_goes_on(tmp_path):
    ran = train(tmp_path, validate=lambda variables: {"accuracy": 1.0})
    assert ran.log.count("validation undefined") == len(STAGES) * EPOCHS
    assert int(latest(tmp_path)[0].step) == LAST_STEP
    assert all((tmp_path / "stages" / f"{stage.name}.npz").exists() for stage in STAGES)
