"""Inference of a run for its evaluation: every stage's network on the test images, selection, and calibration."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence

from fetal_jax.anomaly.detector import Detector
from fetal_jax.biometry.conformal import Calibration
from fetal_jax.core.types import Variables
from fetal_jax.evaluation import findings, normative
from fetal_jax.evaluation.confidence_intervals import intervals
from fetal_jax.evaluation.evaluator import Clean, EvaluatedRecords, evaluate_records, measure_cohort
from fetal_jax.evaluation.protocol import TrainingRecord, stage_before_labelling
from fetal_jax.evaluation.results import ScoresResult
from fetal_jax.evaluation.scores import EvaluationData, Scored, score
from fetal_jax.evaluation.selection import NONE, InferenceSettings, select_inference
from fetal_jax.inference import ensemble as ensembles
from fetal_jax.inference import segmenter as segmenters
from fetal_jax.inference.ensemble import Ensemble
from fetal_jax.inference.segmenter import Segmenter

NO_SPACING = "The size of a pixel is not known: distances are in pixels only, and nothing is measured in mm."
LARGEST_COHORT = 500  # training images that the anomaly detector is fitted on


@dataclasses.dataclass(frozen=True)
class InferenceResult:
    """All that needs the networks; `plain` is the last one by itself, `final` with what was selected and added."""

    scored: Mapping[str, Scored]  # by stage, the last one last
    segmenter: Segmenter  # of the last stage
    variables: Variables  # its weights
    settings: InferenceSettings
    plain: EvaluatedRecords
    final: EvaluatedRecords
    calibration: Mapping[str, Calibration]  # of sizes
    detector: Detector | None  # of anomalies

    @property
    def stage(self) -> str:
        return list(self.scored)[-1]


def run_inference(
    data: EvaluationData,
    models: Mapping[str, pathlib.Path],
    make_segmenter: Callable[[Variables, str], Segmenter],
    others: Sequence[Segmenter],
    *,
    tta: str,
    postprocess: str,
) -> InferenceResult:
    """Runs the networks on the test images. Selection and calibration see validation and training images alone.

    Args:
      data: the run's images.
      models: the model folder of each finished stage, in order; one at least.
      make_segmenter: of a stage's weights and its name.
      others: networks of other runs to average with.
      tta, postprocess: names, or AUTO: selected on the validation images.
    """
    scored, segmenter, variables = _score_stages(data, models, make_segmenter)
    settings = select_inference(data, segmenter, tta=tta, postprocess=postprocess)
    predictor = _predictor(segmenter, settings, others)
    clean = settings.cleaner(data.classes, data.dims)
    plain, final = _test(data, segmenter, predictor, clean)
    validation = None
    if data.has_anatomy and data.parts["validation"]:
        validation = evaluate_records(predictor.probabilities, data.records("validation"), data.classes, clean)
    return InferenceResult(
        scored=scored | {list(models)[-1]: plain.scored},
        segmenter=segmenter,
        variables=variables,
        settings=settings,
        plain=plain,
        final=final,
        calibration=findings.size_calibrations(validation) if validation else {},
        detector=_detector(data, predictor, validation),
    )


def _score_stages(
    data: EvaluationData,
    models: Mapping[str, pathlib.Path],
    make_segmenter: Callable[[Variables, str], Segmenter],
) -> tuple[dict[str, Scored], Segmenter, Variables]:
    """The scores of each stage's model but the last, and its segmenter and weights. One compilation serves them all."""
    first, *following = models
    _, variables = segmenters.read(models[first])
    segmenter = make_segmenter(variables, first)
    scored: dict[str, Scored] = {}
    for name, after in zip(models, following, strict=False):
        scored[name] = score(segmenter.probabilities, data.records("test"), data.classes)
        _, variables = segmenters.read(models[after])
        segmenter = segmenter.with_variables(variables)
    return scored, segmenter, variables


def _predictor(segmenter: Segmenter, settings: InferenceSettings, others: Sequence[Segmenter]) -> Segmenter | Ensemble:
    """The segmenter with the selected augmentation and the other networks; itself where nothing is added to it."""
    together = ensembles.ensemble([segmenter, *others]) if others else segmenter
    return together if settings.tta == NONE else together.with_tta(settings.tta)


def _test(
    data: EvaluationData, segmenter: Segmenter, predictor: Segmenter | Ensemble, clean: Clean | None
) -> tuple[EvaluatedRecords, EvaluatedRecords]:
    """The test images by the segmenter alone, and by the predictor with post-processing."""

    def on_test(network: Segmenter | Ensemble, clean: Clean | None) -> EvaluatedRecords:
        return evaluate_records(network.probabilities, data.records("test"), data.classes, clean)

    if predictor is segmenter:  # one pass serves both
        both = on_test(segmenter, clean)
        return both, both
    return on_test(segmenter, None), on_test(predictor, clean)


def _detector(
    data: EvaluationData, predictor: Segmenter | Ensemble, validation: EvaluatedRecords | None
) -> Detector | None:
    """The anomaly detector, fitted on the labelled part; None for volumes, and where there is too little of it."""
    if not data.has_anatomy:
        return None
    records = data.records("labelled", limit=LARGEST_COHORT)
    cohort = measure_cohort(predictor.probabilities, records, data.classes)
    return normative.fit_detector(cohort, validation, data.classes)


def scores_result(
    training: TrainingRecord, inferred: InferenceResult, ensemble: Sequence[pathlib.Path]
) -> ScoresResult:
    """The scores of every stage, and of what was selected and added to the last one."""
    before = stage_before_labelling(list(inferred.scored), training.labelling)
    plain, final, settings = inferred.plain, inferred.final, inferred.settings
    added = final.scored.averages() if final is not plain else None
    return ScoresResult(
        foreground=plain.scored.classes,
        stages={name: scored.averages() for name, scored in inferred.scored.items()},
        intervals=intervals(plain.scored),
        overall=findings.overall_result(plain),
        tta=settings.tta,
        postprocess=settings.postprocess,
        ensemble=tuple(map(str, ensemble)),
        with_tta=None if ensemble else added,
        with_ensemble=added if ensemble else None,
        postprocessed=final.cleaned.averages() if final.cleaned else None,
        before_labelling=before,
        pool_before_labelling=any(stage.uses_unlabelled for stage in training.stages if stage.name == before),
        kept_pseudo_labels=any(each.n_kept for each in training.labelling) if training.labelling else None,
        spacing_note="" if "hd95_mm" in plain.scored.distances else NO_SPACING,
    )
