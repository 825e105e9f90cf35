"""What is in a prepared dataset, to read and to look at, and a first config that fits it.

`description.py`  what is told of a dataset: data only
`measure.py`      counts, sizes, spacings, classes: from the index alone, so that 100,000 images take seconds
`intensity.py`    grey values of a sample of images, one at a time
`cautions.py`     what a user should know before training
`summary.py`      the description as lines for a terminal
`sheet.py`        a contact sheet: pictures with their masks, spread over the subjects
`suggest.py`      input size, batch, split, balance, augmentation: each with the rule that led to it
`config_file.py`  the suggestion as a config that `fetal-jax train` takes
"""

from input_pipeline.fingerprint.config_file import write_config
from input_pipeline.fingerprint.description import Description
from input_pipeline.fingerprint.measure import describe
from input_pipeline.fingerprint.sheet import write_sheet
from input_pipeline.fingerprint.suggest import Suggestion, suggest

__all__ = ["Description", "Suggestion", "describe", "suggest", "write_config", "write_sheet"]
