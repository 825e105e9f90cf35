"""The files of a run, by name. What is written is written whole or not at all."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fetal_jax.core import config as configs
from fetal_jax.core.atomic import replacing_file
from fetal_jax.core.json_files import read_json, write_json
from fetal_jax.core.types import UserError
from fetal_jax.training.pseudo_labels import PseudoLabel
from fetal_jax.training.stages import Stage
from input_pipeline.splits import Splits
from input_pipeline.streams import PseudoLabels


@dataclasses.dataclass(frozen=True)
class Workdir:
    """The files of a run."""

    path: pathlib.Path

    @property
    def begun(self) -> bool:
        """Whether a run has claimed it."""
        return (self.path / "config.json").is_file()

    def claim(
        self,
        settings: dict[str, Any],
        splits: Splits,
        subject_of: Mapping[str, str],
        weights: dict[str, Any] | None = None,
    ) -> None:
        """Makes a new workdir ours, or checks that an existing one is of this config and split, and that none leaks.

        `weights` says whose weights the encoder of a new run starts from; None: random ones.
        """
        splits.check_subjects(subject_of)
        if weights and not self.begun:
            self.path.mkdir(parents=True, exist_ok=True)
            write_json(self._weights, weights, format=1)
        configs.write_or_compare(settings, self.path)
        if not self.splits.exists():
            splits.save(self.splits)
        self.check_splits(splits)

    def initial_weights(self, pretrained: str) -> str:
        """Whose weights the encoder started from, in words: "random" if nobody's. `pretrained` is the config's word."""
        if not pretrained:
            return "random"
        if not self._weights.is_file():  # begun before they were recorded
            return pretrained
        header = read_json(self._weights, format=1, what="a record of pretrained weights")
        source = header["source"] or header["source_file"]
        return f"{header['encoder']} of {source}, sha256 {header['source_sha256'][:8]}"

    @property
    def _weights(self) -> pathlib.Path:
        return self.path / "weights.json"

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

    def has_model(self, stage: str) -> bool:
        """Whether a stage has ended and left its network."""
        return (self.stage_model(stage) / "model.json").is_file()

    def label(self, stage: str, index: int) -> pathlib.Path:
        return self.path / "labels" / stage / f"{index:06d}.npz"

    def labelling(self, stage: str) -> pathlib.Path:
        return self.path / "labels" / f"{stage}.json"

    def begin_labels(self, stage: str) -> None:
        """Takes away the record of an earlier labelling: where a record is, the labels are whole and its own."""
        self.label(stage, 0).parent.mkdir(parents=True, exist_ok=True)
        self.labelling(stage).unlink(missing_ok=True)

    def save_label(self, stage: str, index: int, label: PseudoLabel) -> None:
        """Writes the pseudo-label of one unlabelled item."""
        with replacing_file(self.label(stage, index)) as partial:
            values = dataclasses.asdict(label) | {"weights": label.weights.astype(np.float16)}
            np.savez_compressed(partial, **values)

    def load_label(self, stage: str, index: int) -> PseudoLabel:
        """The pseudo-label of one unlabelled item."""
        with np.load(self.label(stage, index)) as arrays:
            return PseudoLabel(
                labels=arrays["labels"],
                weights=arrays["weights"].astype(np.float32),
                reason=str(arrays["reason"]),
                pixels=int(arrays["pixels"]),
                confidence=float(arrays["confidence"]),
            )

    def finish_labels(self, stage: str, record: dict[str, Any]) -> None:
        """Writes the record of a labelling, last: what was kept, and why the rest was not."""
        write_json(self.labelling(stage), record, format=1)

    def load_labels(self, stage: str) -> PseudoLabels:
        """The pseudo-labels that a labelling wrote."""
        record = self.labelling_record(stage)
        if record is None:
            raise UserError(f"{self.labelling(stage)} is missing: run the training again in another --workdir")
        labels = [self.load_label(stage, i) for i in range(record["n_pool"])]
        kept = np.array([label.kept for label in labels], bool)
        return PseudoLabels([label.labels for label in labels], [label.weights for label in labels], kept)

    def labelling_records(self, stages: Sequence[Stage]) -> list[dict[str, Any]]:
        """What each labelling stage that has run did with the pool."""
        records = [self.labelling_record(stage.name) for stage in stages if stage.pseudo_labeller]
        return [record for record in records if record]

    def labelling_record(self, stage: str) -> dict[str, Any] | None:
        """What a labelling kept and dropped; None if it has not run to its end."""
        path = self.labelling(stage)
        return read_json(path, format=1, what="a record of pseudo-labels") if path.is_file() else None
