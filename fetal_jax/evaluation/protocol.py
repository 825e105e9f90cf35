"""What a run did before it was evaluated: its stages, their losses, and what its pseudo-labellers kept.

`metrics.jsonl` and the records of the labellings are parsed here, once.
"""

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

NO_LOSS = ("kind", "step", "stage", "epoch", "update_norm")  # what else a line of training says


@dataclasses.dataclass(frozen=True)
class PseudoLabelFacts:
    """What became of one image of the unlabelled pool."""

    name: str
    subject: str
    kept: bool
    reason: str
    pixels: float  # of foreground
    confidence: float  # mean over the foreground


@dataclasses.dataclass(frozen=True)
class LabellingResult:
    """What the labelling before a stage kept and dropped."""

    stage: str
    labeller: str
    settings: Mapping[str, Any]
    n_pool: int
    n_kept: int
    images: tuple[PseudoLabelFacts, ...]

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "LabellingResult":
        """From `labels/STAGE.json`."""
        return cls(
            stage=record["stage"],
            labeller=record["labeller"],
            settings=record["settings"],
            n_pool=record["n_pool"],
            n_kept=record["n_kept"],
            images=tuple(
                PseudoLabelFacts(i["name"], i["subject"], i["kept"], i["reason"], i["pixels"], i["confidence"])
                for i in record["images"]
            ),
        )


@dataclasses.dataclass(frozen=True)
class StageResult:
    """A stage that has run: its settings, and how long it took."""

    name: str
    epochs: int
    learning_rate: float
    frozen: tuple[str, ...]  # groups of parameters
    objective: str
    uses_unlabelled: bool  # as configured
    seconds: float | None = None  # None: it has not ended
    labelling: LabellingResult | None = None  # before it

    @property
    def used_unlabelled(self) -> bool:
        """Whether it drew unlabelled images: where the labelling kept nothing, the stage went on without."""
        return self.uses_unlabelled and (self.labelling is None or self.labelling.n_kept > 0)


@dataclasses.dataclass(frozen=True)
class TrainingCurve:
    steps: tuple[int, ...]
    values: tuple[float, ...]  # NaN where it was not finite


@dataclasses.dataclass(frozen=True)
class TrainingHistory:
    """The scalars of a run."""

    stage_starts: Mapping[str, int]  # first step with a scalar, by stage, in order
    losses: Mapping[str, TrainingCurve]  # the loss and its terms, those that were ever other than 0
    validation_dice: TrainingCurve | None
    seconds: Mapping[str, float]  # by stage that has ended

    @classmethod
    def from_lines(cls, lines: Sequence[Mapping[str, Any]], scheduled: Collection[str] = ()) -> "TrainingHistory":
        """From the lines of `metrics.jsonl`. `scheduled` names the hyper-parameters in them: they are not losses."""
        train = [line for line in lines if line["kind"] == "train"]
        validation = [line for line in lines if line["kind"] == "validation"]
        starts: dict[str, int] = {}
        for line in train + validation:
            step = line["step"]
            starts[line["stage"]] = min(step, starts[line["stage"]]) if line["stage"] in starts else step
        order = dict.fromkeys(line["stage"] for line in lines if line["kind"] in ("train", "validation"))
        names = dict.fromkeys(name for line in train for name in line if name not in (*NO_LOSS, *scheduled))
        losses = {name: _curve(train, name) for name in names}
        ends = [line for line in lines if line["kind"] == "stage" and line["event"] == "end"]
        return cls(
            stage_starts={name: starts[name] for name in order},
            losses={name: curve for name, curve in losses.items() if _ever_counted(curve)},
            validation_dice=_curve(validation, "dice") if validation else None,
            seconds={line["stage"]: line["seconds"] for line in ends},
        )


@dataclasses.dataclass(frozen=True)
class TrainingRecord:
    """What a run has done before it is evaluated."""

    stages: tuple[StageResult, ...]  # that have begun
    history: TrainingHistory
    labelling: tuple[LabellingResult, ...]


def _curve(lines: Sequence[Mapping[str, Any]], key: str) -> TrainingCurve:
    values = [({key: None} | dict(line))[key] for line in lines]
    return TrainingCurve(
        tuple(line["step"] for line in lines), tuple(math.nan if value is None else value for value in values)
    )


def _ever_counted(curve: TrainingCurve) -> bool:
    return any(value and not math.isnan(value) for value in curve.values)


def stage_before_labelling(stages: Sequence[str], labelling: Sequence[LabellingResult]) -> str | None:
    """The stage before the first labelling, which pseudo-labels are to improve on; None if no later stage has run."""
    first = labelling[0].stage if labelling else None
    return stages[stages.index(first) - 1] if first in stages[1:] else None
