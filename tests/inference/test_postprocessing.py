"""Cleaning up label maps: drawn by hand, and held to rules on random ones."""

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from fetal_jax.core.types import UserError
from fetal_jax.inference.connected_components import bounding_box, closed, connected_components
from fetal_jax.inference.postprocessing import (
    Closing,
    FillHoles,
    Inside,
    LargestComponent,
    MinimumSize,
    postprocess,
    recipe,
    recipes,
)

THALAMIC = ("background", "brain", "csp", "lv")
PHANTOM = ("background", "skull", "brain", "csp", "lv", "cerebellum")
ALL = (1, 2, 3)
STEPS = [Closing(ALL, 3), LargestComponent(ALL), LargestComponent(ALL, 2), MinimumSize(ALL, 3), FillHoles(ALL)]
STEPS += [Inside((2, 3), (1,)), Inside((3,), (1, 2))]


def drawn(*rows):
    """A label map of digits; a dot is background."""
    return np.array([[int(c) for c in row.replace(".", "0")] for row in rows], np.uint8)


def check(step, before, after):
    before, after = drawn(*before), drawn(*after)
    given = before.copy()
    np.testing.assert_array_equal(step(before), after)
    np.testing.assert_array_equal(before, given)  # it is left as it was


def test_a_gap_is_closed_to_the_background_and_to_classes_below_but_not_above():
    check(Closing((1,), 5), ["11.11"] * 5, ["11.11", *["11111"] * 3, "11.11"])
    check(Closing((2,), 5), ["22122"] * 5, ["22122", *["22222"] * 3, "22122"])
    check(Closing((1,), 5), ["11211"] * 5, ["11211"] * 5)


def test_closing_reaches_no_further_than_its_size():
    far = ["11.....11"] * 7
    check(Closing((1,), 5), far, far)
    near = ["..11.11..."] * 7
    assert (Closing((1,), 5)(drawn(*near))[2:5, 4] == 1).all()
    check(Closing((1,), 7), [".1", ".1", ".1"], [".1", ".1", ".1"])  # the frame is no structure


def test_of_a_class_the_largest_piece_stays_and_corners_touch():
    before = ["11...", "1..1.", ".1..1"]
    check(LargestComponent((1,)), before, ["11...", "1....", ".1..."])
    check(LargestComponent((1,), 2), before, before)


def test_what_is_taken_becomes_what_surrounds_it_most():
    before = ["1111111.3", "1221121..", "1221111..", "1111111.."]
    after = ["1111111.3", "1221111..", "1221111..", "1111111.."]
    check(LargestComponent((2, 3)), before, after)
    check(MinimumSize((2, 3), 2), before, [after[0].replace("3", "."), *after[1:]])


def test_of_two_equal_pieces_the_first_stays():
    check(LargestComponent((1,)), ["11.11"], ["11..."])


def test_pieces_of_the_least_size_stay():
    check(MinimumSize((1,), 3), ["111.11.1"], ["111....."])


def test_holes_are_filled_with_what_surrounds_them_most():
    before = ["11111.222", "1...1.2.2", "1.1.1.222", "11211....", "........."]
    check(FillHoles((1,)), before, ["11111.222", "11111.2.2", "11111.222", "11211....", "........."])
    check(FillHoles((1, 2)), before, ["11111.222", "11111.222", "11111.222", "11211....", "........."])


def test_a_hole_that_reaches_the_frame_is_open():
    before = ["1.1", "1.1", "111"]
    check(FillHoles((1,)), before, before)


def test_a_hole_that_opens_at_a_corner_only_is_closed():
    check(FillHoles((1,)), [".....", ".111.", ".1.1.", ".11..", "....."], [".....", ".111.", ".111.", ".11..", "....."])


def test_what_is_outside_the_hull_goes():
    before = ["3......", ".11111.", ".13331.", ".1...1.", ".1.2.1.", ".2.2...", "...2..."]
    after = [".......", ".11111.", ".13331.", ".1...1.", ".1.2.1.", ".......", "......."]
    check(Inside((2, 3), (1,)), before, after)


def test_without_an_outer_structure_nothing_is_known():
    before = ["3..2"]
    check(Inside((2, 3), (1,)), before, before)


@st.composite
def label_maps(draw, dims=2):
    """Small maps of four classes with pieces of some pixels."""
    shape = draw(st.tuples(*[st.integers(1, 12 if dims == 2 else 6)] * dims))
    coarse = draw(hnp.arrays(np.uint8, tuple((n + 1) // 2 for n in shape), elements=st.integers(0, 3)))
    labels = coarse
    for axis in range(dims):
        labels = labels.repeat(2, axis)
    labels = labels[tuple(slice(n) for n in shape)].copy()
    for _ in range(draw(st.integers(0, 6))):
        labels[tuple(draw(st.integers(0, n - 1)) for n in shape)] = draw(st.integers(0, 3))
    return labels


@pytest.mark.slow
@pytest.mark.parametrize("step", [*STEPS, *recipes(THALAMIC)["anatomy"]], ids=str)
@settings(deadline=None, max_examples=60)
@given(label_maps())
def test_a_step_twice_is_a_step_and_no_class_is_invented(step, labels):
    given = labels.copy()
    once = step(labels)
    np.testing.assert_array_equal(labels, given)
    assert once.dtype == labels.dtype
    np.testing.assert_array_equal(step(once), once)
    assert set(np.unique(once)) <= set(np.unique(labels)) | {0}


@pytest.mark.parametrize("step", STEPS, ids=str)
@settings(deadline=None, max_examples=20)
@given(label_maps())
def test_a_step_leaves_an_image_without_its_classes_alone(step, labels):
    shifted = np.where(labels > 0, labels + 3, labels)
    np.testing.assert_array_equal(step(shifted), shifted)


@pytest.mark.slow
@settings(deadline=None, max_examples=100)
@given(label_maps())
def test_anatomy_twice_is_anatomy_and_keeps_its_promises(labels):
    steps = recipes(THALAMIC)["anatomy"]
    once = postprocess(labels, steps)
    np.testing.assert_array_equal(postprocess(once, steps), once)
    assert [connected_components(once == i).n for i in ALL] <= [1, 1, 2]
    assert all(connected_components(once == i).n <= n for i, n in zip(ALL, (1, 1, 2), strict=True))


@pytest.mark.slow
@settings(deadline=None, max_examples=50)
@given(label_maps(3))
def test_volumes_obey_the_same_rules(volume):
    for step in STEPS[:5]:
        once = step(volume)
        np.testing.assert_array_equal(step(once), once)
        assert set(np.unique(once)) <= set(np.unique(volume)) | {0}
    assert all(connected_components(LargestComponent(ALL)(volume) == i).n <= 1 for i in ALL)


def test_a_hollow_cube_is_filled_and_a_stray_voxel_goes():
    volume = np.zeros((7, 7, 7), np.uint8)
    volume[1:6, 1:6, 1:6] = 1
    solid = volume.copy()
    volume[2:5, 2:5, 2:5] = 0
    np.testing.assert_array_equal(FillHoles((1,))(volume), solid)
    volume[0, 0, 6] = 2
    np.testing.assert_array_equal(postprocess(volume, [MinimumSize((2,), 2), FillHoles((1,))]), solid)
    solid[3, 3, 1:6] = 0
    np.testing.assert_array_equal(Closing((1,), 3)(solid)[3, 3], [0, 1, 1, 1, 1, 1, 0])


@settings(deadline=None, max_examples=60)
@given(hnp.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))), st.booleans())
def test_pieces_are_those_of_scipy(mask, diagonal):
    touch = ndimage.generate_binary_structure(2, 2 if diagonal else 1)
    numbers, n = ndimage.label(mask, touch)
    pieces = connected_components(mask, diagonal=diagonal)
    assert pieces.n == n
    assert sorted(pieces.sizes) == sorted(np.bincount(numbers.ravel())[1:])
    assert set(map(str, pieces.boxes)) == set(map(str, ndimage.find_objects(numbers)))
    box = bounding_box(mask)
    assert box == (ndimage.find_objects(mask.astype(int))[0] if mask.any() else None)


@settings(deadline=None, max_examples=60)
@given(hnp.arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_closing_is_that_of_scipy(mask):
    disc = np.array([[0, 0, 1, 0, 0], [1] * 5, [1] * 5, [1] * 5, [0, 0, 1, 0, 0]], bool)  # OpenCV's ellipse
    expected = ndimage.binary_closing(np.pad(mask, 4), disc)[4:-4, 4:-4]
    np.testing.assert_array_equal(closed(mask, 5), expected)


@settings(deadline=None, max_examples=60)
@given(label_maps())
def test_closing_in_its_box_is_closing_in_the_whole_image(labels):
    whole = np.where(closed(labels == 3, 5), 3, labels)
    np.testing.assert_array_equal(Closing((3,), 5)(labels), whole)


def test_recipes_have_rules_for_what_they_know_by_name():
    assert list(recipes(THALAMIC)) == ["none", "largest", "closing+largest", "thesis", "anatomy"]
    assert recipes(THALAMIC)["none"] == ()
    assert recipes(THALAMIC)["thesis"] == (Closing((2, 3)), LargestComponent((2, 3)), MinimumSize((2, 3)))
    assert recipes(("background", "foreground"))["thesis"][0] == Closing((1,))
    assert "anatomy" not in recipes(("background", "csf", "gm", "wm"), 3)
    assert recipes(("background", "head"))["anatomy"] == (LargestComponent((1,)), FillHoles((1,)))
    assert recipes(PHANTOM)["anatomy"] == (
        LargestComponent((2, 5)),
        Inside((3, 4), (2,)),
        LargestComponent((3,)),
        LargestComponent((4,), 2),
        FillHoles((2, 5)),
    )
    assert not any(isinstance(step, Inside) for step in recipes(PHANTOM, 3)["anatomy"])


def test_anatomy_by_hand():
    before = drawn(
        "..........3.",
        ".111111111..",
        ".1.112211111",
        ".133112111..",
        ".133111111..",
        ".111113311..",
        ".113112111..",
        ".111111111..",
        "..11....22..",
        ".33.........",
        "......1.....",
    )
    after = drawn(
        "............",
        ".111111111..",
        ".11112211111",
        ".133112111..",
        ".133111111..",
        ".111113311..",
        ".111111111..",
        ".111111111..",
        "..11........",
        "............",
        "............",
    )
    np.testing.assert_array_equal(postprocess(before, recipe("anatomy", THALAMIC)), after)


def test_a_recipe_that_there_is_not_is_refused():
    with pytest.raises(UserError, match="postprocess 'magic' is unknown for head: choose one of none, largest, "):
        recipe("magic", ("background", "head"))
    with pytest.raises(UserError, match="postprocess 'anatomy' is unknown for csf, gm, wm"):
        recipe("anatomy", ("background", "csf", "gm", "wm"), 3)
