"""Several networks as one: the mean of their probabilities, what they must share, and what they must not have seen."""

import dataclasses

import numpy as np
import pytest

from fetal_jax.core.types import UserError
from fetal_jax.inference import ensemble as ensembles
from fetal_jax.inference import segmenter as segmenters
from fetal_jax.inference.ensemble import Ensemble, check_no_leak, ensemble
from fetal_jax.inference.segmenter import Segmenter
from input_pipeline.splits import Splits


def constant(*probs):
    """A predictor that says the same of every pixel."""

    def predict(_, images):
        return np.broadcast_to(np.array(probs, np.float32), (*images.shape[:-1], len(probs)))

    return predict


@pytest.fixture
def three(brain_card, brain_network):
    """Networks that see images in other sizes and other batches."""
    says = [(0.1, 0.6, 0.2, 0.1), (0.7, 0.1, 0.1, 0.1), (0.1, 0.5, 0.1, 0.3)]
    cards = [dataclasses.replace(brain_card, size=size) for size in (24, 16, 20)]
    return [
        Segmenter(card, brain_network, batch_size=i + 1, predict=constant(*probs))
        for i, (card, probs) in enumerate(zip(cards, says, strict=True))
    ]


def test_the_probabilities_are_the_mean_of_the_members(three, noisy_picture):
    answer = ensemble(three)(noisy_picture, (0.5, 0.2))
    np.testing.assert_allclose(answer.probs, np.broadcast_to([0.3, 0.4, 0.4 / 3, 0.5 / 3], (60, 90, 4)), atol=1e-6)
    assert (answer.labels == 1).all()
    assert answer.area_mm2 == {"brain": pytest.approx(540), "csp": 0, "lv": 0}


def test_images_of_many_sizes_come_back_in_order_and_are_read_once(three):
    shapes = [(60, 90), (7, 9), (20, 20), (90, 60), (5, 40)]
    read = []

    def images():
        for shape in shapes:
            read.append(shape)
            yield np.zeros(shape, np.uint8)

    assert [probs.shape for probs in ensemble(three).probabilities(images())] == [(*shape, 4) for shape in shapes]
    assert read == shapes


def test_one_member_is_itself(three, noisy_picture):
    np.testing.assert_array_equal(ensemble(three[:1])(noisy_picture).probs, three[0](noisy_picture).probs)


def test_every_member_looks_at_the_image_in_all_ways(three):
    turned = ensemble(three).with_tta("flips")
    assert [len(member.tta_members()) for member in turned.members] == [3, 3, 3]


def test_other_structures_are_refused_by_name(three, other_classes, brain_network):
    other = Segmenter(other_classes, brain_network, predict=constant(0.5, 0.5))
    with pytest.raises(
        UserError, match=r"^seed2 segments head in 2-D images of 1 channels, but seed1 brain, csp, lv in"
    ):
        ensemble([three[0], other], ["seed1", "seed2"])
    with pytest.raises(UserError, match=r"^model 3 of the ensemble segments head"):
        ensemble([*three[:2], other])


def test_what_was_chosen_on_validation_holds_where_all_chose_it(brain_card, brain_network):
    chosen = [
        {"tta": "flips", "postprocess": "anatomy", "intervals_mm": {"hc_mm": 2.0}},
        {"tta": "flips", "postprocess": "largest", "intervals_mm": {"hc_mm": 3.0}},
    ]
    cards = [dataclasses.replace(brain_card, **choice) for choice in chosen]
    both = Ensemble(tuple(Segmenter(card, brain_network, predict=constant(1, 0, 0, 0)) for card in cards))
    assert (both.config.tta, both.config.postprocess, both.config.intervals_mm) == ("flips", "none", {})


@pytest.mark.slow
def test_saved_networks_are_read_and_equal_ones_compiled_once(saved, noisy_picture, monkeypatch):
    compiled = []
    make = segmenters.make_predict
    monkeypatch.setattr(segmenters, "make_predict", lambda *args: compiled.append(args) or make(*args))
    folders = [saved("seed0", 0), saved("seed1", 1)]
    both = ensembles.load(folders)
    assert len(compiled) == 1
    alone = [segmenters.load(folder)(noisy_picture).probs for folder in folders]
    np.testing.assert_allclose(both(noisy_picture).probs, np.mean(alone, 0), atol=1e-6)
    assert np.abs(alone[0] - alone[1]).max() > 0.1
    assert isinstance(ensembles.load(folders[:1]), Segmenter)


def test_saved_networks_keep_their_own_cards(saved):
    both = ensembles.load([saved("small"), saved("large", size=32)])
    assert [member.config.size for member in both.members] == [24, 32]


def test_a_folder_of_another_kind_is_named(saved, other_classes):
    first, second = saved("brains"), saved("heads", facts=other_classes.facts)
    with pytest.raises(UserError, match=r"heads segments head in .*: leave it out"):
        ensembles.load([first, second])


SUBJECTS = {f"{subject}{frame}": subject for subject in "abcdef" for frame in (1, 2)}


def dealt(dataset="heads", **parts):
    parts = {part: tuple(parts.get(part, ())) for part in ("labelled", "unlabelled", "validation", "test", "unused")}
    return Splits(dataset, 0, parts, {})


@pytest.mark.parametrize("part", ["labelled", "unlabelled", "validation"])
def test_a_member_that_saw_another_frame_of_a_test_subject_is_refused(part):
    fold0, fold1 = dealt(labelled=["a1"], test=["c1"]), dealt(**{part: ["b1", "c2", "d1"]})
    with pytest.raises(UserError, match=r"^runs/fold1 was trained on subject c of the test images: leave it out"):
        check_no_leak({"runs/fold0": fold0, "runs/fold1": fold1}, "heads", ["c1", "e1"], SUBJECTS)


def test_how_many_subjects_leak_is_said():
    with pytest.raises(UserError, match=r"^fold was trained on subject c and 2 others of the test images"):
        check_no_leak({"fold": dealt(labelled=["c1", "d1", "e2"])}, "heads", ["c1", "d1", "e1", "f1"], SUBJECTS)


def test_another_version_of_the_dataset_is_the_same_dataset():
    member = {"run": dealt(dataset="heads:1.0.0:a1", labelled=["c1"])}
    with pytest.raises(UserError, match="run was trained on subject c"):
        check_no_leak(member, "heads:1.0.0:b2", ["c1"], SUBJECTS)


def test_members_that_saw_others_only_are_allowed():
    members = {
        "same split": dealt(labelled=["a1"], test=["c1", "e1"]),
        "surplus frames": dealt(labelled=["a1"], unused=["c2"]),
        "another dataset": dealt(dataset="phantom", labelled=["c1"]),
        "an image that is gone": dealt(labelled=["z9"]),
    }
    check_no_leak(members, "heads", ["c1", "e1"], SUBJECTS)
