"""What is found out of a run by its networks: the test set measured, and what was chosen and calibrated for it."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

from fetal_jax.anomaly.detector import Detector
from fetal_jax.biometry.conformal import Calibration
from fetal_jax.core.types import UserError, Variables
from fetal_jax.evaluation import findings
from fetal_jax.evaluation import normative as normals
from fetal_jax.evaluation import selection as chosen
from fetal_jax.evaluation.evaluator import Assessment, Clean, assess, look
from fetal_jax.evaluation.scores import Scored, score
from fetal_jax.evaluation.selection import NONE, Inference
from fetal_jax.experiment import Experiment
from fetal_jax.inference import ensemble as ensembles
from fetal_jax.inference import segmenter as segmenters
from fetal_jax.inference.ensemble import Ensemble
from fetal_jax.inference.predictor import AUTO
from fetal_jax.inference.segmenter import Segmenter
from fetal_jax.workdir import Workdir
from input_pipeline.splits import Splits

MOST_NORMALS = 500  # training images that what is normal is fitted on


@dataclasses.dataclass(frozen=True)
class Options:
    """How to evaluate; `tta` and `postprocess` are names, or AUTO: chosen on the validation images."""

    tta: str = NONE
    postprocess: str = AUTO
    ensemble: tuple[pathlib.Path, ...] = ()  # other runs to average with
    explain: int = 0  # test images, worst first


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """Everything that was found out of a run; `plain` is its last network by itself, `final` as answers are made."""

    scored: Mapping[str, Scored]  # by stage, the last one last
    segmenter: Segmenter  # of the last stage
    variables: Variables  # its weights
    inference: Inference
    ensemble: tuple[str, ...]  # the other runs that answer, too
    plain: Assessment
    final: Assessment
    calibration: Mapping[str, Calibration]  # of sizes
    detector: Detector | None  # of anomalies

    @property
    def stage(self) -> str:
        return list(self.scored)[-1]


def find_out(experiment: Experiment, workdir: Workdir, options: Options) -> Evaluated:
    """All that needs the networks. What is chosen or calibrated is by validation and training images alone.

    Raises UserError if no stage has finished, an option is wrong, or a run to average with knows the test subjects.
    """
    chosen.check(experiment, tta=options.tta, postprocess=options.postprocess)
    names = [stage.name for stage in experiment.stages if (workdir.stage_model(stage.name) / "model.json").is_file()]
    if not names:
        raise UserError(f"{workdir.path} has no finished stage: run fetal-jax train with this --workdir first")
    others = _others(experiment, workdir, options.ensemble)
    scored, segmenter, variables = _score_stages(experiment, workdir, names)
    inference = chosen.choose_inference(experiment, segmenter, tta=options.tta, postprocess=options.postprocess)
    answering = _answering(segmenter, inference, others)
    clean = inference.cleaner(experiment.facts.classes, experiment.facts.dims)
    plain, final = _test(experiment, segmenter, answering if answering is not segmenter else None, clean)
    validation = _validate(experiment, answering, clean)
    return Evaluated(
        scored=scored | {names[-1]: plain.scored},
        segmenter=segmenter,
        variables=variables,
        inference=inference,
        ensemble=tuple(map(str, options.ensemble)),
        plain=plain,
        final=final,
        calibration=findings.calibrations(validation) if validation else {},
        detector=_detector(experiment, answering, validation),
    )


def _others(experiment: Experiment, workdir: Workdir, runs: Sequence[pathlib.Path]) -> list[Segmenter]:
    """The networks to average with. Raises UserError if one has seen a test subject, or segments something else."""
    paths = [workdir.path.resolve(), *(run.resolve() for run in runs)]
    if len(set(paths)) < len(paths):
        raise UserError("--ensemble names a run twice, or the run itself: give each other run once")
    for run in runs:
        if not (run / "splits.json").is_file():
            raise UserError(f"--ensemble {run} is no workdir (no splits.json): give the --workdir of a finished run")
    dealt = {str(run): Splits.load(run / "splits.json") for run in runs}
    test = experiment.splits.parts["test"]
    ensembles.check_no_leak(dealt, experiment.splits.dataset, test, experiment.dataset.subjects)
    return [segmenters.load(run, batch_size=experiment.settings.evaluation.batch_size) for run in runs]


def _score_stages(
    experiment: Experiment, workdir: Workdir, names: list[str]
) -> tuple[dict[str, Scored], Segmenter, Variables]:
    """The scores of each stage's model but the last, and its segmenter and weights. One compilation serves them all."""
    segmenter, scored = None, {}
    for name in names:
        _, variables = segmenters.read(workdir.stage_model(name))
        segmenter = segmenter.with_variables(variables) if segmenter else experiment.segmenter(variables, name)
        if name != names[-1]:
            records = experiment.dataset.records(experiment.splits.parts["test"])
            scored[name] = score(segmenter.probabilities, records, experiment.facts.classes)
    return scored, segmenter, variables


def _answering(segmenter: Segmenter, inference: Inference, others: Sequence[Segmenter]) -> Segmenter | Ensemble:
    """The segmenter itself where nothing is added to it."""
    together = ensembles.ensemble([segmenter, *others]) if others else segmenter
    return together if inference.tta == NONE else together.with_tta(inference.tta)


def _test(
    experiment: Experiment, segmenter: Segmenter, answering: Segmenter | Ensemble | None, clean: Clean | None
) -> tuple[Assessment, Assessment]:
    """The test set as the segmenter by itself sees it, and as answers are made; `answering` is None for the same."""

    def on_test(network: Segmenter | Ensemble, clean: Clean | None) -> Assessment:
        records = experiment.dataset.records(experiment.splits.parts["test"])
        return assess(network.probabilities, records, experiment.facts.classes, clean)

    if answering is None:  # one pass serves both
        both = on_test(segmenter, clean)
        return both, both
    return on_test(segmenter, None), on_test(answering, clean)


def _validate(experiment: Experiment, answering: Segmenter | Ensemble, clean: Clean | None) -> Assessment | None:
    """What is measured of the validation images; None for volumes, and where there are none."""
    names = experiment.splits.parts["validation"]
    if experiment.facts.dims != 2 or not names:
        return None
    return assess(answering.probabilities, experiment.dataset.records(names), experiment.facts.classes, clean)


def _detector(
    experiment: Experiment, answering: Segmenter | Ensemble, validation: Assessment | None
) -> Detector | None:
    """What is normal, by the training part; None for volumes, and where there is too little of it."""
    if experiment.facts.dims != 2:
        return None
    classes = experiment.facts.classes
    records = experiment.dataset.records(experiment.splits.parts["labelled"][:MOST_NORMALS])
    return normals.fit(look(answering.probabilities, records, classes), validation, classes)
