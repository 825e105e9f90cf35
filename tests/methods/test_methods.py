"""Training methods: what each minimises, what it remembers, and the traps that a method must not fall into."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from fetal_jax.core.rng import step_key
from fetal_jax.core.types import Batch, Sample, UserError, Variables, Views
from fetal_jax.losses import compose
from fetal_jax.methods import METHODS, make_method
from fetal_jax.methods.base import linear_ramp, moving_average
from fetal_jax.methods.mixing import boxes, cut_mix
from fetal_jax.training.stages import Stage
from fetal_jax.training.state import create_state, create_variables, enter_stage
from fetal_jax.training.step import make_train_step

KEY = jax.random.key(5)
UNLABELLED = sorted(name for name, method in METHODS.items() if method.unlabelled)


class TinyNet(nn.Module):
    """The call of a model of this project, with BatchNorm and dropout."""

    rate: float = 0.2

    @nn.compact
    def __call__(self, image, *, train, frozen=()):
        x = nn.Conv(4, (3, 3), use_bias=False, name="encoder")(image)
        x = nn.relu(nn.BatchNorm(not train, momentum=0.5, name="bn")(x))
        x = nn.Dropout(self.rate)(x, deterministic=not train)
        return nn.Conv(1, (1, 1), name="decoder")(x)


MODEL = TinyNet()


def make_batch(seed=0, views=1):
    rng = np.random.default_rng(seed)
    image = rng.random((4, 8, 8, 1), np.float32)
    labels, weights = (image[..., 0] > 0.6).astype(np.int32), np.ones((4, 8, 8), np.float32)
    views = Views(image[2:], tuple(image[2:] ** (2 + i) for i in range(views)), labels[2:], weights[2:])
    return Batch(Sample(image[:2], labels[:2], weights[:2]), views)


def stage_of(method, **changes):
    data = ("labelled", "unlabelled") if method.unlabelled else ("labelled",)
    labeller = "naive" if method.pseudo_labels else ""
    return Stage("one", 1, 0.1, method, data, labeller, **changes)


def begin(method):
    def create(name):
        return create_variables(MODEL, 0, (8, 8, 1), name)

    return enter_stage(create_state(create("student")), None, method, lambda hp: optax.identity(), create, KEY)


def step_of(method):
    models = dict.fromkeys(method.networks, MODEL)
    return jax.jit(make_train_step(method, models, lambda hp: optax.identity(), objective="bce_dice"))


def difference(first, second):
    pairs = jax.tree.map(lambda a, b: np.abs(np.asarray(a) - np.asarray(b)).max(initial=0), first, second)
    return max(jax.tree.leaves(pairs))


@pytest.fixture(scope="module", params=sorted(METHODS))
def ran(request):
    """A method, its step, the state with which it begins, and the one after three steps at the end of a stage."""
    method = make_method(request.param, {})
    step, first = step_of(method), begin(method)
    state, hp = first, stage_of(method).hyperparameters(1.0)
    for seed in range(3):
        state, metrics = step(state, make_batch(seed), hp, KEY)
    return method, step, first, state, metrics


@pytest.mark.slow
def test_every_method_trains_counts_and_publishes(ran):
    method, _, first, last, metrics = ran
    assert last.step == 3
    assert {"loss", "supervised", "update_norm"} <= metrics.keys()
    assert all(np.isfinite(value) for value in metrics.values())
    for name in method.networks:
        assert difference(first.networks[name].params, last.networks[name].params) > 1e-4
    assert jax.tree.structure(method.published(last)) == jax.tree.structure(method.published(first))
    assert isinstance(method.published(last), Variables)


@pytest.mark.slow
def test_the_state_keeps_its_shape_so_that_one_program_serves_a_stage(ran):
    _, _, first, last, _ = ran
    assert jax.tree.structure(first) == jax.tree.structure(last)
    assert [x.shape for x in jax.tree.leaves(first)] == [x.shape for x in jax.tree.leaves(last)]
    assert [x.dtype for x in jax.tree.leaves(first)] == [x.dtype for x in jax.tree.leaves(last)]


@pytest.mark.slow
def test_no_option_of_a_method_is_compiled_in(ran):
    """A step made with other options is the same program: options reach it as hyper-parameters alone."""
    method, _, first, _, _ = ran
    changed = {field.name: field.default / 2 for field in dataclasses.fields(method)}
    other = dataclasses.replace(method, **changed)
    if other.views != method.views:
        return
    hp = stage_of(method).hyperparameters(1.0)
    programs = [str(jax.make_jaxpr(step_of(m))(first, make_batch(), hp, KEY)) for m in (method, other)]
    assert programs[0] == programs[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", UNLABELLED)
def test_the_unlabelled_term_has_a_gradient_after_burn_in_only(name):
    """Traps T1, T2 and T10: a ramp that never arrives, a dead term, and a term that is there from the start."""
    method = make_method(name, {})
    weights = [key for key in stage_of(method).hyperparameters(0.0) if key in ("consistency_weight", "cps_weight")]
    assert len(weights) == 1
    full, early = (stage_of(method).hyperparameters(progress)[weights[0]] for progress in (0.4, 0.0))
    final = stage_of(method).hyperparameters(1.0)[weights[0]]
    if name != "self_training":  # its ramp is the published one
        assert full >= 0.99 * final
    assert early <= 0.01 * final

    step, state, hp = step_of(method), begin(method), stage_of(method).hyperparameters(1.0)
    hp |= {"confident": 0.0} if "confident" in hp else {}  # a network that has learnt nothing is certain of nothing
    state, _ = step(state, make_batch(1), hp, KEY)
    without, _ = step(state, make_batch(), hp | {weights[0]: 0.0}, KEY)
    with_term, _ = step(state, make_batch(), hp, KEY)
    assert difference(without.networks, with_term.networks) > 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mean_teacher", "cutmix_mean_teacher", "cps"])
def test_unusual_images_leave_the_running_statistics_alone(name):
    """Trap T5: the statistics after a step are equal with other strong views and with no weight on their term."""
    method = make_method(name, {})
    step, state, hp = step_of(method), begin(method), stage_of(method).hyperparameters(1.0)
    batch = make_batch()
    scrambled = batch.replace(unlabelled=batch.unlabelled.replace(strong=(1 - batch.unlabelled.strong[0],)))
    ends = [step(state, each, hp, KEY)[0] for each in (batch, scrambled)]
    for network in method.networks:
        assert difference(*(end.networks[network].batch_stats for end in ends)) == 0
        assert difference(ends[0].networks[network].batch_stats, state.networks[network].batch_stats) > 0


def test_the_mean_teacher_is_the_average_of_the_students():
    method = make_method("mean_teacher", {"decay": 0.75})
    step, state = step_of(method), begin(method)
    expected = state.networks["student"]
    for number in range(1, 5):
        state, _ = step(state, make_batch(number), stage_of(method).hyperparameters(0.5), KEY)
        decay = min(1 - 1 / (number + 1), 0.75)
        expected = jax.tree.map(lambda a, b, d=decay: d * a + (1 - d) * b, expected, state.networks["student"])
        assert difference(state.teachers["teacher"], expected) < 1e-6
    assert difference(method.published(state), expected) < 1e-6
    assert difference(method.published(state), state.networks["student"]) > 1e-5


def test_mean_teacher_minimises_the_distance_to_the_teacher_on_the_strong_view():
    method, batch = make_method("mean_teacher", {}), make_batch()
    state = begin(method).replace(teachers={"teacher": create_variables(MODEL, 9, (8, 8, 1))})
    _, metrics = step_of(method)(state, batch, stage_of(method).hyperparameters(1.0), KEY)

    teacher = MODEL.apply(state.teachers["teacher"].as_dict(), batch.unlabelled.weak, train=False)
    # The student's own dropout cannot be redone by hand; without the term of the unlabelled images it is the same loss.
    p = jax.nn.sigmoid(teacher[..., 0])
    assert 0 < metrics["consistency"] < 2 * float(jnp.max(jnp.maximum(p, 1 - p) ** 2))
    fit = metrics["loss"] - metrics["consistency"]
    np.testing.assert_allclose(fit, metrics["supervised"], rtol=1e-5)


def test_cutmix_asks_for_the_mixture_of_the_teachers_answers():
    """The whole term by hand, of a student without dropout and images that are padded in part."""
    model = TinyNet(rate=0.0)
    method, batch = make_method("cutmix_mean_teacher", {}), make_batch()
    views = batch.unlabelled
    views = views.replace(weights=views.weights.copy())
    views.weights[0, :, 5:] = 0
    hp = stage_of(method).hyperparameters(1.0) | {"confident": 0.55}
    step = jax.jit(make_train_step(method, {"student": model}, lambda hp: optax.identity(), objective="bce_dice"))
    state = begin(method).replace(teachers={"teacher": create_variables(MODEL, 9, (8, 8, 1))})
    _, metrics = step(state, batch.replace(unlabelled=views), hp, KEY)

    inside = boxes(step_key(KEY, "cutmix", state.step), views.weights.shape, 0.5)
    target = cut_mix(inside, jax.nn.sigmoid(model.apply(state.teachers["teacher"].as_dict(), views.weak, train=False)))
    _, updates = model.apply(
        state.networks["student"].as_dict(), batch.labelled.image, train=True, mutable=["batch_stats"]
    )
    student = {"params": state.networks["student"].params} | updates
    answer, _ = model.apply(student, cut_mix(inside, jnp.asarray(views.strong[0])), train=True, mutable=["batch_stats"])
    weights = cut_mix(inside, jnp.asarray(views.weights))
    squared = 2 * (jax.nn.sigmoid(answer) - target)[..., 0] ** 2  # of the foreground and of the background
    certain = jnp.maximum(target, 1 - target)[..., 0] >= 0.55
    trusted = jnp.sum(weights * certain) / jnp.sum(weights)
    assert 0 < trusted < 1
    np.testing.assert_allclose(metrics["trusted"], trusted, rtol=1e-5)
    expected = trusted * jnp.sum(weights * squared) / jnp.sum(weights)
    np.testing.assert_allclose(metrics["consistency"], expected, rtol=1e-4)


@pytest.mark.slow
def test_the_networks_of_cps_differ_and_stay_different():
    """Trap T14: equal initialisation or shared dropout would make the networks one."""
    method = make_method("cps", {})
    step, state = step_of(method), begin(method)
    assert difference(state.networks["a"].params, state.networks["b"].params) > 1e-2
    assert_first = create_variables(MODEL, 0, (8, 8, 1))
    assert difference(state.networks["a"], assert_first) == 0
    for seed in range(20):
        state, _ = step(state, make_batch(seed), stage_of(method).hyperparameters(1.0), KEY)
    a, b = (MODEL.apply(state.networks[n].as_dict(), make_batch().labelled.image, train=False) for n in ("a", "b"))
    assert difference(a, b) > 1e-2


def test_equal_networks_in_cps_drop_other_units():
    method = make_method("cps", {})
    state = begin(method)
    twins = state.replace(networks=dict.fromkeys(("a", "b"), state.networks["a"]))
    after, _ = step_of(method)(twins, make_batch(), stage_of(method).hyperparameters(1.0), KEY)
    assert difference(after.networks["a"].params, after.networks["b"].params) > 1e-6


@pytest.mark.slow
def test_pixels_of_the_padding_have_no_part():
    for name in ("mean_teacher", "cutmix_mean_teacher", "cps"):
        method, batch = make_method(name, {}), make_batch()
        views = batch.unlabelled
        padded = views.replace(weights=views.weights * 0)
        step, state, hp = step_of(method), begin(method), stage_of(method).hyperparameters(1.0)
        hp |= {"confident": 0.0} if "confident" in hp else {}
        _, metrics = step(state, batch.replace(unlabelled=padded), hp, KEY)
        np.testing.assert_allclose(metrics["loss"], metrics["supervised"], rtol=1e-6)


def test_ramps_and_averages():
    ramp = linear_ramp(2.0, 0.25, 0.75)
    assert [ramp(t) for t in (0.0, 0.2, 0.25, 0.5, 0.75, 1.0)] == [0, 0, 0, 1, 2, 2]
    assert linear_ramp(2.0, 0.0, 0.0)(0.1) == 2.0
    old, new = (Variables({"w": jnp.full(2, x)}, {"m": jnp.full(1, x)}) for x in (1.0, 3.0))
    average = moving_average(old, new, jnp.float32(0.75))
    np.testing.assert_allclose(average.params["w"], 1.5)
    np.testing.assert_allclose(average.batch_stats["m"], 1.5)
    assert difference(moving_average(old, new, jnp.float32(0.0)), new) == 0


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "mean_techer",
            {},
            r"method 'mean_techer' is unknown: choose one of cps, cutmix_mean_teacher, mean_teacher, self_tr",
        ),
        ("mean_teacher", {"decy": 0.9}, r"method\.decy is not an option of mean_teacher: did you mean 'decay'\?"),
        ("supervised", {"decay": 0.9}, r"method\.decay is not an option of supervised: its options are none"),
        ("mean_teacher", {"decay": 1.0}, r"method\.decay is 1\.0: it must be a number, at least 0 and below 1"),
        ("mean_teacher", {"burn_in": "x"}, r"method\.burn_in is 'x': it must be a number, at least 0 and below 0\.5"),
        ("cps", {"weight": float("nan")}, r"method\.weight is nan"),
        ("cps", {"burn_in": 1}, r"method\.burn_in is 1: it must be a number, at least 0 and below 0\.5"),
    ],
)
def test_what_a_method_does_not_take_is_named(name, options, message):
    with pytest.raises(UserError, match=message):
        make_method(name, options)


def test_options_arrive_as_numbers():
    assert make_method("self_training", {"consistency": 0}).views == 0
    assert make_method("mean_teacher", {"consistency": 3}).consistency == 3.0


def test_masked_mean_of_the_objective_is_what_supervised_minimises():
    method, batch = make_method("supervised", {}), make_batch()
    state = begin(method)
    _, metrics = step_of(method)(state, Batch(batch.labelled), stage_of(method).hyperparameters(0.5), KEY)
    assert metrics["loss"] == metrics["supervised"]
    assert set(compose.loss_weights("bce_dice")) == {"cross_entropy", "dice"}
