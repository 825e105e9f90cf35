"""What a reader of a run's scores must know first: each warning where it is due, and nowhere else."""

import numpy as np
import pytest
from planted import experiment, record, says

from fetal_jax.evaluation.evaluator import assess
from fetal_jax.evaluation.warnings import of_run
from fetal_jax.training.pseudo_labels import PseudoLabel
from fetal_jax.training.stages import Stage
from fetal_jax.workdir import Workdir

CLASSES = ("background", "csp", "lv")
SUBJECTS = 30


def pictures(n=SUBJECTS, labels=(0, 1, 1, 1, 2, 2), answer=(0, 1, 1, 0, 2, 2)):
    return [record(f"S{i}_a", [labels], [answer]) for i in range(n)]


def stage(name="retrain", augment="none", labeller=""):
    return Stage(name, 1, 1e-3, (), augment, "labelled", "dice", 0.0, labeller)


@pytest.fixture
def warned(tmp_path):
    """The warnings of a run of one stage that has these test images, of which nothing is wrong by default."""

    def call(test=None, *, validation=None, stages=None, blur=0, final="retrain", notes=()):
        test = pictures() if test is None else test
        made = experiment(CLASSES, test=test, validation=pictures(3) if validation is None else validation)
        made.stages, made.blur, made.warnings = stages or [stage()], blur, list(notes)
        return of_run(made, Workdir(tmp_path), assess(says(3), test, CLASSES).scored.summary(), final)

    return call


def test_a_run_of_which_nothing_is_wrong_has_no_warning(warned):
    assert warned() == []


def test_what_the_experiment_knows_comes_first(warned):
    assert warned(pictures(2), notes=["No training image shows lv."])[0] == "No training image shows lv."


def test_few_subjects(warned):
    assert warned(pictures(29)) == ["Only 29 test subjects: differences of a few points mean nothing."]


def test_a_dice_that_is_too_good_asks_for_a_leak(warned):
    (warning,) = warned(pictures(answer=(0, 1, 1, 1, 2, 2)))
    assert warning.startswith("Dice 1.0000 is above 0.99: two human annotators agree less")
    assert "the same subjects in training and test" in warning
    near, good = np.zeros((2, 1, 400), int)
    near[0, :200], good[0, :197] = 1, 1
    near[0, 200:], good[0, 200:] = 2, 2
    (warning,) = warned([record(f"S{i}_a", near, good) for i in range(SUBJECTS)])
    assert warning.startswith(f"Dice {(2 * 197 / 397 + 1) / 2:.4f} is above 0.99")
    good[0, 190:197] = 0
    assert warned([record(f"S{i}_a", near, good) for i in range(SUBJECTS)]) == []


def test_a_structure_that_no_test_image_shows(warned):
    told = "No test image shows lv: nothing is known of how well it is found."
    assert warned(pictures(labels=(0, 1, 1, 1, 0, 0))) == [told]  # the network invents it
    nowhere = warned(pictures(labels=(0, 1, 1, 1, 0, 0), answer=(0, 1, 1, 0, 0, 0)))
    assert nowhere == [told, "lv: absent from 30 images and predictions, whose scores are undefined."]


def test_a_structure_that_is_never_found(warned):
    assert warned(pictures(answer=(2, 1, 1, 0, 0, 0))) == [
        "The network finds no pixel of the reference's lv in any test image."
    ]


def test_a_structure_that_some_images_lack(warned):
    some = [*pictures(28), *(record(f"T{i}_a", [[0, 1, 1, 1]], [[0, 1, 1, 0]]) for i in range(2))]
    assert warned(some) == ["lv: absent from 2 images and predictions, whose scores are undefined."]


def test_no_validation_images(warned):
    assert warned(validation=[]) == [
        "There are no validation images: every stage keeps its last network, not its best."
    ]


def test_a_run_that_has_not_finished(warned):
    stages = [stage("fine_tune"), stage()]
    assert warned(stages=stages, final="fine_tune") == [
        "The run has not finished: these are the scores of stage fine_tune."
    ]


def test_another_blur_than_in_training(warned):
    (warning,) = warned(blur=5)
    assert warning.startswith("evaluation.blur is 5, but the last stage trained with a blur of 0: the network is")


def test_a_labeller_that_kept_nothing(warned, tmp_path):
    workdir, answer = (
        Workdir(tmp_path),
        PseudoLabel(np.zeros((2, 2), np.uint8), np.zeros((2, 2), np.float32), "small", 0, 0.0),
    )
    workdir.save_labels("retrain", [answer], {"stage": "retrain", "n_kept": 0, "n_pool": 200})
    assert warned(stages=[stage(labeller="threshold")]) == [
        "The labeller kept none of 200 images before stage retrain: that stage went on with the labelled images alone."
    ]
    workdir.save_labels("retrain", [answer], {"stage": "retrain", "n_kept": 7, "n_pool": 200})
    assert warned(stages=[stage(labeller="threshold")]) == []
