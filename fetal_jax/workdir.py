"""The files of a run, by name. What is written is written whole or not at all."""

import dataclasses
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fetal_jax import config as configs
from fetal_jax.atomic import replacing_file
from fetal_jax.training.labellers import PseudoLabel
from fetal_jax.training.stages import Stage
from fetal_jax.types import UserError
from input_pipeline.pipeline import PseudoLabels
from input_pipeline.splits import Splits


@dataclasses.dataclass(frozen=True)
class Workdir:
    """The files of a run."""

    path: pathlib.Path

    @property
    def begun(self) -> bool:
        """Whether a run has claimed it."""
        return (self.path / "config.json").is_file()

    def claim(self, settings: dict[str, Any], splits: Splits, subject_of: Mapping[str, str]) -> None:
        """Makes a new workdir ours, or checks that an existing one is of this config and split, and that none leaks."""
        splits.check_subjects(subject_of)
        configs.write_or_compare(settings, self.path)
        if not self.splits.exists():
            splits.save(self.splits)
        self.check_splits(splits)

    def check_splits(self, splits: Splits) -> None:
        """Raises UserError if the dataset has changed since the run began: its images would be dealt differently."""
        if Splits.load(self.splits).hash != splits.hash:
            raise UserError(
                f"{self.splits} is not how this dataset is dealt any more (it changed): choose another --workdir"
            )

    @property
    def splits(self) -> pathlib.Path:
        return self.path / "splits.json"

    def stage_model(self, stage: str) -> pathlib.Path:
        return self.path / "stages" / stage

    def labels(self, stage: str) -> pathlib.Path:
        return self.path / "labels" / f"{stage}.npz"

    def labelling(self, stage: str) -> pathlib.Path:
        return self.path / "labels" / f"{stage}.json"

    def robustness(self) -> dict[str, Any]:
        """What experiments/robustness.py found, under its own key; nothing where it has not run."""
        path = self.path / "robustness.json"
        return {"robustness": json.loads(path.read_text())} if path.is_file() else {}

    def save_labels(self, stage: str, answers: Sequence[PseudoLabel], record: dict[str, Any]) -> None:
        """Writes a labelling: the labels as arrays, and the record of what was kept and why the rest was not.

        The record is written last and taken away first: where it is, the labels are its own and whole.
        """
        self.labels(stage).parent.mkdir(exist_ok=True)
        self.labelling(stage).unlink(missing_ok=True)
        with replacing_file(self.labels(stage)) as partial:
            np.savez_compressed(
                partial,
                labels=np.stack([answer.labels for answer in answers]),
                weights=np.stack([answer.weights for answer in answers]).astype(np.float16),
                kept=np.array([answer.kept for answer in answers]),
            )
        write_json(self.labelling(stage), record)

    def load_labels(self, stage: str) -> PseudoLabels:
        """The labels that a labelling wrote."""
        with np.load(self.labels(stage)) as arrays:
            return PseudoLabels(arrays["labels"], arrays["weights"].astype(np.float32), arrays["kept"])

    def labelling_records(self, stages: Sequence[Stage]) -> list[dict[str, Any]]:
        """What each labelling stage that has run did with the pool."""
        records = [self.labelling_record(stage.name) for stage in stages if stage.labeller]
        return [record for record in records if record]

    def labelling_record(self, stage: str) -> dict[str, Any] | None:
        """What a labelling kept and dropped; None if it has not run to its end."""
        path = self.labelling(stage)
        return json.loads(path.read_text()) if path.is_file() and self.labels(stage).is_file() else None


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes JSON, whole or not at all."""
    with replacing_file(path) as partial:
        partial.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")
