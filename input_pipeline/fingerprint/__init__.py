"""Dataset fingerprint, contact sheet, and a planner that makes a first config, in the manner of nnU-Net.

`dataset_fingerprint.py`  the fingerprint: data only
`extract.py`              counts, sizes, spacings, classes: from the index alone, so that 100,000 images take seconds
`intensity.py`            grey values of a sample of images, one at a time
`warnings.py`             warnings for the user, before training
`summary.py`              the fingerprint as lines for a terminal
`sheet.py`                a contact sheet: pictures with their masks
`example_selection.py`    which examples the contact sheet shows
`planner.py`              input size, batch, split, balance, augmentation: each with the rule that led to it
`rules.py`, `balance.py`  these rules
`config_file.py`          the plan as a config that `fetal-jax train` takes
"""

from input_pipeline.fingerprint.config_file import write_config
from input_pipeline.fingerprint.dataset_fingerprint import Fingerprint
from input_pipeline.fingerprint.extract import extract_fingerprint
from input_pipeline.fingerprint.planner import Plan, plan
from input_pipeline.fingerprint.sheet import write_sheet

__all__ = ["Fingerprint", "Plan", "extract_fingerprint", "plan", "write_config", "write_sheet"]
