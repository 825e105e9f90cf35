"""A first config from what a dataset holds: rules in the manner of nnU-Net, each with its reason in words.

Isensee et al., "nnU-Net: a self-configuring method for deep learning-based biomedical image segmentation", Nature
Methods 18, 2021: no rule looks at a score; the size follows from the data, memory bounds it, and the batch comes last.
"""

import dataclasses
from typing import Any

from input_pipeline.fingerprint import balance, rules
from input_pipeline.fingerprint.description import Description
from input_pipeline.fingerprint.rules import Choice


@dataclasses.dataclass(frozen=True)
class Suggestion:
    """What to start with. `why_no_config` says in words why none can be written, and is "" where one can."""

    choices: tuple[Choice, ...] = ()
    why_no_config: str = ""

    @property
    def values(self) -> dict[str, Any]:
        """The config keys, dotted, with their values."""
        return {key: value for choice in self.choices for key, value in choice.values.items()}

    def lines(self) -> list[str]:
        """For a terminal: the values of each choice, and below them the reason."""
        text = []
        for choice in self.choices:
            text += [", ".join(f"{key} = {value!r}" for key, value in choice.values.items()), f"    {choice.reason}"]
        return text + ([f"no config is suggested: {self.why_no_config}"] if self.why_no_config else [])


def suggest(found: Description, memory_gb: float = 8.0) -> Suggestion:
    """The config to start with, for a device of so much memory (10⁹ bytes); of volumes only a patch size."""
    if not found.structures:
        why = "no labelled image shows a structure" if found.n_labelled else "no image is labelled"
        return Suggestion(why_no_config=f"{why}, so there is nothing to learn from")
    if found.dims == 3:
        reason = "configs are for images, and these are volumes: start with configs/adu_net.py"
        return Suggestion((rules.patch(found, memory_gb),), reason)
    if found.n_labelled_subjects < 2:
        return Suggestion(why_no_config="all labelled images are of one subject, and a test takes another one")
    size = rules.input_size(found, memory_gb)
    batch = rules.batch(found, size.values["size"], memory_gb)
    protocol = balance.protocol(found)
    return Suggestion(
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


def _structures(found: Description) -> Choice:
    shown = tuple(each.name for each in found.structures)
    left_out = [each.name for each in found.classes[1:] if each.name not in shown]
    reason = f"no labelled image shows {', '.join(left_out)}" if left_out else "all of the dataset"
    return Choice({"structures": shown}, reason)
