"""Augmentations as text: what each op list means, that text and transform convert to each other, and every error."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetal_jax.core.types import UserError
from input_pipeline import augment
from input_pipeline.augment import AUGMENTATIONS, Chain, Chance, OneOf, Sample, format_ops, of_volumes, parse
from input_pipeline.augment.geometry import Flip, ShiftScaleRotate, Zoom
from input_pipeline.augment.intensity import BrightnessContrast, Clahe, GainOffset, Gamma, MedianBlur, Perturb, perturb
from input_pipeline.augment.masks import MORPHOLOGY, Morph
from input_pipeline.augment.ops import OPS, PHOTOMETRIC, simplified
from input_pipeline.augment.ultrasound import DepthAttenuation, FanRotation, GainCurve, Shadow, Speckle


def original(seed=0):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (40, 56, 1), np.uint8)
    labels = np.zeros((40, 56), np.uint8)
    labels[12:28, 20:40] = 1
    return Sample(image, labels, np.ones((40, 56), np.float32), np.array([0.3, 0.4], np.float32))


def equal(a, b):
    return all(
        np.array_equal(getattr(a, field.name), getattr(b, field.name)) and getattr(a, field.name).dtype
        for field in dataclasses.fields(a)
    )


@pytest.mark.parametrize(
    ("text", "transform"),
    [
        ("flip", Flip("horizontal")),
        ("flip()", Flip("horizontal")),
        ("flip(vertical)", Flip("vertical")),
        ("flip('vertical')", Flip("vertical")),
        (" flip(direction = vertical) ", Flip("vertical")),
        ("speckle(0.3)", Speckle(strength=0.3)),
        ("speckle(0.3, lateral=2)", Speckle(strength=0.3, lateral=2.0)),
        ("gamma(0)", Gamma(0.0)),
        ("clahe(tiles=4)", Clahe(tiles=4)),
        ("morph(erode, 5)", Morph("erode", 5)),
        ("perturb(gamma=(0.5, 2), noise=0.1)", Perturb(gamma=(0.5, 2.0), noise=0.1)),
        ("p(0.3, gamma(0.2))", Chance(0.3, Gamma(0.2))),
        ("p(transform=flip, p=1)", Chance(1.0, Flip())),
        ("none", Chain()),
        ("none | none", Chain()),
        ("none | flip", Flip()),
        ("flip | zoom(1.5) | gamma", Chain((Flip(), Zoom(1.5), Gamma()))),
        ("flip | (zoom | gamma)", Chain((Flip(), Zoom(), Gamma()))),
        ("one_of(flip | zoom, none)", OneOf((Chain((Flip(), Zoom())), Chain()))),
        ("flips", OneOf((Chain(), Flip()))),
        ("flips | speckle", Chain((OneOf((Chain(), Flip())), Speckle()))),
        (
            "flip(horizontal)|shift_scale_rotate(shift=0.1,scale=0.15,degrees=20)|p(0.3,gamma(0.2))",
            Chain((Flip(), ShiftScaleRotate(0.1, 0.15, 20.0), Chance(0.3, Gamma(0.2)))),
        ),
    ],
)
def test_what_a_list_of_ops_means(text, transform):
    assert parse(text) == transform


numbers = st.floats(0, 1)
ranges = st.tuples(st.floats(0.1, 1), st.floats(1, 10))
leaves = st.one_of(
    st.tuples(st.just(Flip), st.sampled_from(["horizontal", "vertical"])),
    st.tuples(st.just(Zoom), st.floats(1, 10)),
    st.tuples(st.just(ShiftScaleRotate), numbers, st.floats(0, 0.9), st.floats(0, 180)),
    st.tuples(st.just(MedianBlur), st.sampled_from([3, 5, 31])),
    st.tuples(st.just(BrightnessContrast), numbers),
    st.tuples(st.just(GainOffset), numbers, numbers),
    st.tuples(st.just(Gamma), numbers),
    st.tuples(st.just(Clahe), st.floats(1, 100), st.integers(1, 64)),
    st.tuples(st.just(Morph), st.sampled_from(list(MORPHOLOGY)), st.integers(1, 31)),
    st.tuples(st.just(Speckle), numbers, st.floats(0.1, 50), st.floats(0.1, 50)),
    st.tuples(st.just(Shadow), numbers, numbers),
    st.tuples(st.just(GainCurve), numbers, st.integers(1, 64)),
    st.tuples(st.just(DepthAttenuation), st.floats(0, 10)),
    st.tuples(st.just(FanRotation), st.floats(0, 180)),
    st.tuples(st.just(Perturb), ranges, ranges, ranges, st.floats(0, 20), numbers),
)
trees = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda steps: (Chain, steps)),
        st.lists(inner, min_size=1, max_size=4).map(lambda options: (OneOf, options)),
        st.tuples(st.just(Chance), numbers, inner),
    ),
    max_leaves=10,
)


def built(tree):
    """The transform of a drawn (class, arguments): made in the test, since type checking draws random numbers."""
    kind, *arguments = tree
    if kind in (Chain, OneOf):
        return kind(tuple(map(built, arguments[0])))
    return Chance(arguments[0], built(arguments[1])) if kind is Chance else kind(*arguments)


@pytest.mark.slow
@given(trees)
def test_the_text_of_a_transform_means_that_transform(tree):
    transform = simplified(built(tree))
    text = format_ops(transform)
    assert parse(text) == transform
    assert format_ops(parse(text)) == text


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_a_published_name_and_its_text_are_the_same_augmentation(name):
    text = format_ops(AUGMENTATIONS[name])
    assert parse(text) == simplified(AUGMENTATIONS[name])
    for seed in range(5):
        first, second = np.random.default_rng(seed), np.random.default_rng(seed)
        assert equal(augment.sample(name, first, original()), augment.sample(text, second, original()))
        assert first.random() == second.random(), "the same random numbers are drawn"
    assert augment.blurs(text) == augment.blurs(name)


def test_every_op_of_the_tables_is_tested_above():
    tested = {type(op) for op in (Flip(), Zoom(), ShiftScaleRotate(), MedianBlur(), BrightnessContrast(), GainOffset())}
    tested |= {Gamma, Clahe, Morph, Speckle, Shadow, GainCurve, DepthAttenuation, FanRotation, Perturb, Chance, OneOf}
    assert set(OPS.values()) == tested
    assert not AUGMENTATIONS.keys() & {"p", "one_of"}
    assert all(parse(name) == OPS[name]() for name in AUGMENTATIONS.keys() & OPS.keys()), "a name means one thing"


def test_a_list_is_its_ops_one_after_the_other():
    first, second = np.random.default_rng(3), np.random.default_rng(3)
    by_hand = Gamma(0.5)(Flip("vertical")(original(), first), first)
    assert equal(augment.sample("flip(vertical) | gamma(0.5)", second, original()), by_hand)


def test_blurs_of_a_list():
    assert augment.blurs("flip | median_blur(3)") == {3}
    assert augment.blurs("p(0.5, median_blur) | p(0.5, median_blur(7))") == {0, 5, 7}
    assert augment.blurs("one_of(median_blur(3), none) | speckle") == {0, 3}
    assert augment.blurs("perturb") == {0}


ALL = "choose one of none, flips"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "augment '' is not a list of ops: write ops like flip(horizontal) with | between them"),
        ("xyzzy", f"augment 'xyzzy' is unknown: {ALL}"),
        ("geometrc", "augment 'geometrc' is unknown: did you mean 'geometric'?"),
        ("spekle(0.3)", "augment 'spekle(0.3)': op 'spekle' is unknown: did you mean 'speckle'?"),
        ("flip | xyzzy", f"augment 'flip | xyzzy': op 'xyzzy' is unknown: {ALL}"),
        ("geometric(3)", "augment 'geometric(3)': geometric has no parameters: write geometric without brackets"),
        (
            "flip(diagonal)",
            "augment 'flip(diagonal)': flip: direction is 'diagonal': it must be horizontal or vertical",
        ),
        ("gamma(limits=1)", "augment 'gamma(limits=1)': gamma: limits is not a parameter: did you mean 'limit'?"),
        ("zoom(x=1)", "augment 'zoom(x=1)': zoom: x is not a parameter: choose one of factor"),
        ("zoom(**x)", "augment 'zoom(**x)': zoom: ** is not a parameter: choose one of factor"),
        ("flip(1, 2)", "augment 'flip(1, 2)': flip: 2 parameters are given: it has direction"),
        ("gamma(1, limit=1)", "augment 'gamma(1, limit=1)': gamma: limit is given twice: remove one"),
        ("morph", "augment 'morph': morph: operation is missing: give a word"),
        ("p(0.5)", "augment 'p(0.5)': p: transform is missing: give an op"),
        ("p(0.5, 0.3)", "augment 'p(0.5, 0.3)': 0.3 is not an op: write ops like flip(horizontal) with | between them"),
        ("p(1.5, flip)", "augment 'p(1.5, flip)': p: p is 1.5: it must be 0 to 1"),
        ("p(0.5, gamma(4))", "augment 'p(0.5, gamma(4))': gamma: limit is 4.0: it must be 0 to 1"),
        ("one_of()", "augment 'one_of()': one_of: there is nothing to choose from: name one transform or more"),
        ("one_of(a=3)", "augment 'one_of(a=3)': one_of: a is not a parameter: name ops, as in one_of(flip, zoom(1.2))"),
        ("gamma(x)", "augment 'gamma(x)': gamma: limit is x: it must be a number"),
        ("gamma('0.1')", "augment \"gamma('0.1')\": gamma: limit is '0.1': it must be a number"),
        ("gamma(True)", "augment 'gamma(True)': gamma: limit is True: it must be a number"),
        ("gamma(-0.1)", "augment 'gamma(-0.1)': gamma: limit is -0.1: it must be 0 to 1"),
        ("gamma(1e999)", "augment 'gamma(1e999)': gamma: limit is inf: it must be 0 to 1"),
        ("clahe(tiles=2.5)", "augment 'clahe(tiles=2.5)': clahe: tiles is 2.5: it must be a whole number"),
        ("flip(3)", "augment 'flip(3)': flip: direction is 3: it must be a word"),
        (
            "median_blur(4)",
            "augment 'median_blur(4)': median_blur: kernel is 4: it must be an odd number from 3 to 31",
        ),
        ("perturb(1)", "augment 'perturb(1)': perturb: gamma is 1: it must be a range (low, high)"),
        (
            "perturb((2, 1))",
            "augment 'perturb((2, 1))': perturb: gamma is (2.0, 1.0): it must be a range (low, high) within 0.1 to 10",
        ),
        ("flip | 3", "augment 'flip | 3': 3 is not an op: write ops like flip(horizontal) with | between them"),
        ("flip & zoom", "augment 'flip & zoom': flip & zoom is not an op: write ops like flip(horizontal) with | "),
        ("os.remove(x)", "augment 'os.remove(x)': os.remove(x) is not an op: write ops like flip(horizontal) with | "),
        ("flip || zoom", "augment 'flip || zoom' is not a list of ops at character 7: write ops like flip(horizontal)"),
        ("flip(", "augment 'flip(' is not a list of ops at character 5: write ops like flip(horizontal) with | "),
    ],
)
def test_errors_name_the_op_the_cause_and_the_remedy(text, message):
    for program in (augment.check, parse, augment.blurs, augment.check_strong):
        with pytest.raises(UserError) as caught:
            program(text)
        assert str(caught.value).startswith(message)
        assert "\n" not in str(caught.value)


def parsed(text):
    """The transform of a text, and the message of its error."""
    try:
        return parse(text), ""
    except UserError as error:
        return None, str(error)


@given(st.text(alphabet="flipgam(),=|'\"0.1 \n[]{}*-_", max_size=40))
def test_any_text_is_an_augmentation_or_a_user_error_of_one_line(text):
    transform, message = parsed(text)
    assert "\n" not in message
    assert transform is None or parse(format_ops(transform)) == simplified(transform)


@pytest.mark.parametrize("text", ["(" * 5000, "flip|" * 20_000 + "flip", "p(0.5," * 200 + "flip" + ")" * 200])
def test_a_text_that_is_too_deep_is_an_error_or_works(text):
    transform, message = parsed(text)
    assert transform is not None or "is not a list of ops" in message
    assert len(message) < 400


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_perturb_is_an_op_of_the_same_bits(kind):
    image = original().image if kind == np.uint8 else original().image.astype(np.float32) / np.float32(255)
    rngs = [np.random.default_rng(5) for _ in range(4)]
    expected = perturb(image, rngs[0])
    assert expected.dtype == kind
    np.testing.assert_array_equal(augment.strong_view("perturb", rngs[1], image), expected)
    text = "perturb((0.7, 1.5), (0.6, 1.4), (0.7, 1.3), 1.2, 0.06)"
    np.testing.assert_array_equal(augment.strong_view(text, rngs[2], image), expected)
    if kind == np.uint8:
        np.testing.assert_array_equal(augment.sample("perturb", rngs[3], original()).image, expected)
    assert len({rng.random() for rng in rngs[: 4 if kind == np.uint8 else 3]}) == 1


def test_perturb_without_strength_is_the_identity():
    text = "perturb(gamma=(1, 1), contrast=(1, 1), brightness=(1, 1), blur=0, noise=0)"
    image = original().image
    view = augment.strong_view(text, np.random.default_rng(0), image)
    np.testing.assert_array_equal(view, image)


def test_a_strong_view_of_several_ops():
    image, text = original().image, "speckle(0.3) | p(0.5, gamma)"
    view = augment.strong_view(text, np.random.default_rng(1), image)
    np.testing.assert_array_equal(view, augment.sample(text, np.random.default_rng(1), original()).image)
    unit = image.astype(np.float32) / np.float32(255)
    floating = augment.strong_view(text, np.random.default_rng(1), unit)
    assert floating.dtype == np.float32
    np.testing.assert_array_equal(floating, view.astype(np.float32) / np.float32(255))


@pytest.mark.parametrize("name", sorted(OPS.keys() - PHOTOMETRIC.keys() - {"p", "one_of", "morph"}))
def test_a_strong_view_does_not_move_pixels(name):
    for text in (name, f"perturb | p(0.5, {name})", f"one_of(none, {name})"):
        with pytest.raises(UserError, match=rf"cannot be a strong view, .*: {name} moves pixels or changes labels"):
            augment.check_strong(text)
    with pytest.raises(UserError, match="morph moves pixels or changes labels"):
        augment.check_strong("simplified")


@pytest.mark.parametrize("name", PHOTOMETRIC)
def test_photometric_ops_leave_labels_weights_and_spacing(name):
    augment.check_strong(name)
    before = original()
    after = augment.sample(name, np.random.default_rng(2), before)
    assert after.labels is before.labels
    assert after.weights is before.weights
    assert after.spacing_mm is before.spacing_mm


def test_volumes_can_have_two_augmentations():
    for name in ("none", "flips"):
        of_volumes.check(name, 3)
    for name in ("geometric", "flip | gamma", "strong"):
        with pytest.raises(UserError, match=r"is for images: on volumes it can be 'none' or 'flips' only"):
            of_volumes.check(name, 3)
    of_volumes.check("flip | gamma", 2)
    with pytest.raises(UserError, match="augment 'xyzzy' is unknown"):
        of_volumes.check("xyzzy", 2)
