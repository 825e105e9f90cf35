"""The TFDS builder of the user's own folder. Its facts are kept in the TFDS metadata, beside the records."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from input_pipeline.builders import common
from input_pipeline.builders.folder.source import FACTS, Item, read_frames, read_source


class Folder(common.SourceBuilder):
    """Images and masks from the user's folder. `folder/NAME` keeps several of them side by side."""

    FACTS = FACTS
    FACTS_DEPEND_ON_SOURCE = True
    ANY_CONFIG = True
    SOURCE = "the folder of images/ and masks/"

    def read(self, source: Path) -> common.SourceReport:
        return read_source(source)

    def examples(self, items: list[Item]) -> Iterator[dict[str, Any]]:
        for item in items:
            for frame in read_frames(item):
                yield {
                    "image": frame.image,
                    "labels": frame.labels,
                    "labelled": item.mask is not None,
                    "spacing_mm": np.array(frame.spacing_mm, np.float32),
                    "subject": item.subject,
                    "name": frame.name,
                }
