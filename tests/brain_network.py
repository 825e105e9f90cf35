"""A network of three structures that is compiled in a moment, its card, and pictures for it."""

import dataclasses

import jax
import numpy as np
import pytest

from fetal_jax.core.types import DatasetFacts, Variables
from fetal_jax.inference import segmenter as segmenters
from fetal_jax.inference.segmenter import InferenceConfig
from fetal_jax.models import build_model

COLOURS = ((0, 0, 0), (213, 94, 0), (0, 158, 115), (0, 114, 178))


def facts(classes=("background", "brain", "csp", "lv"), **others):
    return DatasetFacts(
        name="heads",
        title="Heads",
        classes=classes,
        colours=COLOURS[: len(classes)],
        subject_rule="none",
        licence="CC0",
        citation="",
        **others,
    )


@pytest.fixture(scope="session")
def brain_card():
    model = {"name": "plain_unet", "num_classes": 4, "width": 4, "depth": 1, "dropout": 0.3}
    return InferenceConfig(model, size=24, blur=0, facts=facts(), splits_hash="0" * 64, stage="supervised")


@pytest.fixture(scope="session")
def brain_network(brain_card):
    """Random weights for it."""
    return random_weights(brain_card, 0)


def random_weights(card, seed) -> Variables:
    model = build_model(**card.model)
    image = np.zeros((1, *(8,) * card.facts.dims, card.facts.channels), np.float32)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), image, train=False))
    rng = np.random.default_rng(seed)

    def draw(path, leaf):
        noise = rng.standard_normal(leaf.shape, np.float32)
        if path[-1].key == "kernel":
            return noise * np.float32(np.sqrt(2 / np.prod(leaf.shape[:-1])))
        return np.float32(path[-1].key in ("scale", "var")) + np.float32(0.1) * noise

    drawn = jax.tree_util.tree_map_with_path(draw, shapes)
    return Variables(drawn["params"], drawn["batch_stats"])


@pytest.fixture
def other_classes(brain_card):
    """The card of a network of the head alone."""
    return dataclasses.replace(brain_card, facts=facts(("background", "head")))


@pytest.fixture
def saved(tmp_path, brain_card):
    """Writes a model directory with random weights of a seed, under a name; the card may differ."""

    def save(name, seed=0, **changes):
        card = dataclasses.replace(brain_card, **changes)
        segmenters.save(tmp_path / name / "model", card, random_weights(card, seed))
        return tmp_path / name

    return save


@pytest.fixture
def noisy_picture():
    return np.random.default_rng(1).integers(0, 256, (60, 90), np.uint8)
