"""The user's own images and masks, in any of the usual formats; see README.md."""

from input_pipeline.builders.folder.builder import FACTS, Folder

Builder = Folder

__all__ = ["FACTS", "Builder", "Folder"]
