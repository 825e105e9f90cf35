"""Chain, Chance and OneOf, and what the report asks of a composition."""

import dataclasses

import numpy as np
import pytest

from input_pipeline import augment
from input_pipeline.augment import AUGMENTATIONS, Chain, Chance, OneOf, Sample
from input_pipeline.augment.geometry import Flip, Zoom
from input_pipeline.augment.intensity import MedianBlur


@pytest.fixture
def sample():
    rng = np.random.default_rng(3)
    image, labels = rng.integers(1, 256, (24, 20, 1), np.uint8), rng.integers(0, 3, (24, 20), np.uint8)
    return Sample(image, labels, rng.random((24, 20), np.float32), np.float32([0.3, 0.4]))


def rng(seed=0):
    return np.random.default_rng(seed)


def test_chance_keeps_its_probability(sample):
    flip, generator = Chance(0.3, Flip()), rng()
    share = np.mean([flip(sample, generator) is not sample for _ in range(4000)])
    assert share == pytest.approx(0.3, abs=0.03)  # four standard errors
    assert Chance(0.0, Flip())(sample, rng()) is sample
    assert Chance(1.0, Flip())(sample, rng()) is not sample


def test_one_of_draws_uniformly(sample):
    options = tuple(lambda s, _, i=i: dataclasses.replace(s, spacing_mm=np.float32([i, i])) for i in range(4))
    generator, chosen = rng(), OneOf(options)
    counts = np.bincount([int(chosen(sample, generator).spacing_mm[0]) for _ in range(4000)])
    np.testing.assert_allclose(counts, 1000, atol=120)


def test_a_chain_runs_in_order(sample):
    chained = Chain((Zoom(1.2), Flip()))(sample, rng())
    by_hand = Flip()(Zoom(1.2)(sample, rng()), rng())
    for field in dataclasses.fields(Sample):
        np.testing.assert_array_equal(getattr(chained, field.name), getattr(by_hand, field.name))


@pytest.mark.parametrize(("name", "kernels"), [("none", {0}), ("comprehensive", {5}), ("simplified", {5})])
def test_the_blurs_of_an_augmentation(name, kernels):
    assert augment.blurs(name) == kernels


def test_the_blurs_of_a_composition(monkeypatch):
    mixed = Chain((Chance(0.5, MedianBlur(3)), OneOf((Chain((Flip(), MedianBlur(7))), Flip()))))
    monkeypatch.setitem(AUGMENTATIONS, "mixed", mixed)
    assert augment.blurs("mixed") == {0, 3, 7}
    assert {name for name in AUGMENTATIONS if augment.blurs(name) != {0}} == {"comprehensive", "simplified", "mixed"}
