"""Simulated fetal heads and infant cerebella: the data that comes with the project. See README.md beside this file."""

from input_pipeline.builders.fetal_phantom.builder import FACTS, FetalPhantom

Builder = FetalPhantom

__all__ = ["FACTS", "Builder", "FetalPhantom"]
