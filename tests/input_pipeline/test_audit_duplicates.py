"""Copies: each way of making one is found, and images that only have their frame in common are kept apart."""

import pathlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from experiments.audit_duplicates import BEYOND, PROMISED, Score, crop, score, scores
from input_pipeline.audit import candidates, fingerprints
from input_pipeline.audit.duplicates import ExactGroup, exact_groups, linked, near_pairs
from input_pipeline.audit.fingerprints import BOXES, CUTS, FLIPS, SIDE, SIGNS, flipped, pixel_hash, thumbnail
from input_pipeline.audit.registration import compare
from input_pipeline.dataset import Dataset


def texture(seed, shape=(200, 260)):
    """Smooth blobs, coarse and fine, around middle grey."""
    rng = np.random.default_rng(seed)
    layers = [cv2.GaussianBlur(rng.standard_normal(shape), (0, 0), sigma) for sigma in (3, 8)]
    return np.clip(110 + 40 * sum(layer / layer.std() for layer in layers), 0, 255).astype(np.uint8)


TEXTURES = {f"image{i}": texture(i) for i in range(6)}
OWNERS = {name: f"owner of {name}" for name in TEXTURES}


@pytest.mark.slow
@pytest.mark.parametrize("kind", PROMISED)
def test_every_planted_copy_is_found_and_nothing_else(kind):
    rng = np.random.default_rng(3)
    copies = {name: PROMISED[kind](picture, rng) for name, picture in TEXTURES.items()}
    assert score(kind, TEXTURES, copies, OWNERS) == Score(kind, planted=6, found=6, pairs=60, false_pairs=())


def test_a_pair_says_who_and_how():
    thumbs = {name: thumbnail(picture) for name, picture in TEXTURES.items()}
    thumbs["copy"] = thumbnail(cv2.flip(texture(2), 0))
    (pair,) = near_pairs(thumbs, OWNERS | {"copy": "owner of image2"})
    assert pair.names == ("copy", "image2")
    assert (pair.across_subjects, pair.flip) == (False, "vertical")
    assert pair.correlation > 0.99
    (pair,) = near_pairs(thumbs, OWNERS | {"copy": "another"})
    assert pair.across_subjects
    assert pair.subjects == ("another", "owner of image2")


def on_a_screen(picture):
    """The picture in the fan of a probe, below the text of a machine."""
    height, width = picture.shape
    rows, columns = np.indices(picture.shape)
    fan = (np.abs(columns - width / 2) < 20 + 0.6 * rows) & (np.hypot(columns - width / 2, rows) < 0.97 * height)
    screen = np.where(fan, picture, 0).astype(np.uint8)
    for y, text in enumerate(("GENERAL HOSPITAL", "RAB6-D 7.5cm/1.3", "MI 0.9 TIs 0.2", "22.Week OB 2/3")):
        cv2.putText(screen, text, (4, 16 + 22 * y), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 255, 1)
    return screen


def test_the_same_text_and_fan_do_not_make_a_copy():
    thumbs = {name: thumbnail(on_a_screen(picture)) for name, picture in TEXTURES.items()}
    assert near_pairs(thumbs, OWNERS) == ()
    again = thumbnail(on_a_screen(TEXTURES["image0"]) // 2)
    assert [pair.names for pair in near_pairs(thumbs | {"again": again}, OWNERS | {"again": ""})] == [
        ("again", "image0")
    ]


@pytest.mark.slow
def test_frames_of_different_phantoms_are_no_copies(data_dir):
    dataset = Dataset("fetal_phantom/tiny", pathlib.Path(data_dir))
    pictures = {name: dataset[name].picture() for name in dataset.names}
    assert score("originals", pictures, {}, dataset.subjects) == Score("originals", 0, 0, 252, ())  # 28 pairs * 9


def test_flat_images_and_no_images_have_no_copies():
    assert near_pairs({}, {}) == ()
    flat = {name: np.full((SIDE, SIDE), value, np.uint8) for name, value in (("black", 0), ("grey", 90))}
    assert near_pairs(flat, {"black": "a", "grey": "b"}) == ()


@pytest.mark.slow
def test_a_crowd_of_copies_is_one_group():
    """More copies than are looked at for each image: not every pair is listed, but all of them hang together."""
    assert candidates.NEAREST < 11
    rng = np.random.default_rng(0)
    crowd = {f"copy{i:02d}": thumbnail(PROMISED["all five of these"](texture(0), rng)) for i in range(12)}
    crowd["other"] = thumbnail(texture(1))
    pairs = near_pairs(crowd, dict.fromkeys(crowd, "one subject"))
    assert linked(pair.names for pair in pairs) == (tuple(sorted(crowd.keys() - {"other"})),)


def test_candidates_do_not_depend_on_the_size_of_the_blocks(monkeypatch):
    thumbs = [thumbnail(picture) for picture in (*TEXTURES.values(), texture(0)[10:, 5:], texture(1)[:, ::-1])]
    at_once = candidates.find_candidates(thumbs)
    monkeypatch.setattr(candidates, "BLOCK_VALUES", 1)
    one_by_one = candidates.find_candidates(thumbs)
    assert [(c.first, c.second) for c in at_once] == [(c.first, c.second) for c in one_by_one]
    assert {tuple(sorted((c.first, c.second))) for c in at_once} >= {(0, 6), (1, 7)}


@pytest.mark.parametrize("flip", FLIPS)
def test_a_flip_is_a_change_of_signs(flip):
    thumb = thumbnail(texture(0))
    signs = SIGNS[FLIPS.index(flip)]
    np.testing.assert_allclose(fingerprints.whole(flipped(thumb, flip)), signs * fingerprints.whole(thumb), atol=1e-4)


def test_flipping_by_hand():
    picture = np.array([[1, 2], [3, 4]], np.uint8)
    expected = {"none": [[1, 2], [3, 4]], "horizontal": [[2, 1], [4, 3]], "vertical": [[3, 4], [1, 2]]}
    assert {flip: flipped(picture, flip).tolist() for flip in expected} == expected
    assert flipped(picture, "both").tolist() == [[4, 3], [2, 1]]


@pytest.mark.slow
@pytest.mark.parametrize("row", range(0, len(BOXES) ** 2, 7))
def test_the_cosines_of_a_crop_are_those_of_the_drawn_crop(row):
    """And registering it from there lays the two over each other."""
    (top, bottom), (left, right) = BOXES[row // len(BOXES)], BOXES[row % len(BOXES)]
    picture = texture(0, (600, 600))  # cuts of 6 % and 12 % are whole pixels
    drawn = thumbnail(crop(picture, np.array([left, top, 1 - right, 1 - bottom]), zoom=False))
    likeness = fingerprints.crops(thumbnail(picture)) @ fingerprints.whole(drawn)
    assert likeness.argmax() == row
    assert likeness[row] > 0.9
    found = candidates.Candidate(0, 1, float(likeness[row]), row, 0)
    assert compare(found, thumbnail(picture), drawn).correlation > 0.9


def test_every_box_is_there_once():
    assert len(set(BOXES)) == len(CUTS) ** 2
    assert BOXES[0] == (0, 1)  # `whole` uses the first


@settings(max_examples=30, deadline=None)
@given(st.floats(0.5, 1.5), st.floats(-30, 30), st.integers(0, 5))
def test_local_contrast_does_not_see_the_gain(factor, offset, seed):
    rng = np.random.default_rng(seed)
    picture = cv2.GaussianBlur(rng.uniform(60, 140, (SIDE, SIDE)), (0, 0), 3)
    changed = np.round(factor * picture + offset).clip(0, 255).astype(np.uint8)
    one, other = (fingerprints.local_contrast(p) for p in (np.round(picture).astype(np.uint8), changed))
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.9


def test_equal_hashes_are_equal_shapes_types_and_pixels():
    image = np.arange(12, dtype=np.uint8)
    same = pixel_hash(image.reshape(3, 4))
    assert pixel_hash(np.asfortranarray(image.reshape(3, 4))) == same
    others = [image.reshape(4, 3), image.reshape(3, 4)[::-1], image.reshape(3, 4).view(np.int8)]
    assert len({same, *(pixel_hash(other) for other in others)}) == 4


def test_exact_groups_by_hand():
    hashes = {"a1": "x", "a2": "x", "b1": "y", "b2": "z", "c1": "y", "d1": "w"}
    subjects = {name: name[0] for name in hashes}
    assert exact_groups(hashes, subjects) == (
        ExactGroup(("b1", "c1"), ("b", "c"), across_subjects=True),
        ExactGroup(("a1", "a2"), ("a",), across_subjects=False),
    )


PAIRS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), max_size=20)


@given(PAIRS)
def test_linked_groups_are_the_connected_components(pairs):
    groups = linked([(f"{i:02d}", f"{j:02d}") for i, j in pairs])
    mentioned = {i for pair in pairs for i in pair}
    links = tuple(np.array(pairs, int).reshape(-1, 2).T)
    _, component = connected_components(coo_matrix((np.ones(len(pairs)), links), shape=(13, 13)), directed=False)
    expected = {tuple(f"{i:02d}" for i in sorted(mentioned) if component[i] == c) for c in set(component)} - {()}
    assert set(groups) == expected
    assert list(groups) == sorted(groups)


@pytest.mark.slow
def test_the_experiment_covers_every_kind_once():
    kinds = [result.kind for result in scores({"a": texture(0), "b": texture(1)}, {"a": "A", "b": "B"}, seed=0)]
    assert kinds == ["originals", *PROMISED, *BEYOND, "two crops of one image"]


def test_the_experiment_counts_false_pairs():
    """Two subjects with one picture: each of two versions of the one is taken for a copy of each of the other."""
    same = {"a": texture(0), "b": texture(0)}
    result = score("none", same, same, {"a": "A", "b": "B"})
    assert (result.planted, result.found, result.pairs) == (2, 2, 4)
    assert [set(pair) for pair in result.false_pairs] == [{"a", "b"}] * 4
