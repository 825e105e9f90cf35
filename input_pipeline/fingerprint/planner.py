"""Planner: the settings of a first config from a dataset's fingerprint, by rules that each give a reason in words.

In the manner of nnU-Net (Isensee et al., Nature Methods 18, 2021): no rule looks at a score; the size follows from the
data, memory bounds it, and the batch size comes last.
"""

import dataclasses
from typing import Any

from input_pipeline.fingerprint import balance, rules
from input_pipeline.fingerprint.dataset_fingerprint import Fingerprint
from input_pipeline.fingerprint.rules import PlannedSettings


@dataclasses.dataclass(frozen=True)
class Plan:
    """The settings to start with. `why_no_config` says why no config can be written, and is "" where one can."""

    settings: tuple[PlannedSettings, ...] = ()
    why_no_config: str = ""

    @property
    def values(self) -> dict[str, Any]:
        """The config keys, dotted, with their values."""
        return {key: value for each in self.settings for key, value in each.values.items()}

    def lines(self) -> list[str]:
        """For a terminal: the settings of each rule, and below them the reason."""
        text = []
        for each in self.settings:
            text += [", ".join(f"{key} = {value!r}" for key, value in each.values.items()), f"    {each.reason}"]
        return text + ([f"no config is suggested: {self.why_no_config}"] if self.why_no_config else [])


def plan(found: Fingerprint, memory_gb: float = 8.0) -> Plan:
    """The plan for a device of so much memory (10⁹ bytes); for volumes only a patch size."""
    if not found.structures:
        why = "no labelled image shows a structure" if found.n_labelled else "no image is labelled"
        return Plan(why_no_config=f"{why}, so there is nothing to learn from")
    if found.dims == 3:  # the config that is written is one of images; volumes have configs/adu_net.py
        reason = "configs are for images, and these are volumes: start with configs/adu_net.py"
        return Plan((rules.patch(found, memory_gb),), reason)
    if found.n_labelled_subjects < 2:
        return Plan(why_no_config="all labelled images are of one subject, and a test takes another one")
    size = rules.input_size(found, memory_gb)
    batch = rules.batch(found, size.values["size"], memory_gb)
    protocol = balance.protocol(found)
    return Plan(
        (
            _structures(found),
            size,
            batch,
            rules.epochs(found, batch.values["batch_size"], protocol.values["stages"]),
            balance.split(found),
            protocol,
            balance.oversampling(found),
            balance.weighting(found),
            balance.augmentation(found, size.values["size"], protocol.values["stages"]),
        )
    )


def _structures(found: Fingerprint) -> PlannedSettings:
    shown = tuple(each.name for each in found.structures)
    left_out = [each.name for each in found.classes[1:] if each.name not in shown]
    reason = f"no labelled image shows {', '.join(left_out)}" if left_out else "all of the dataset"
    return PlannedSettings({"structures": shown}, reason)
