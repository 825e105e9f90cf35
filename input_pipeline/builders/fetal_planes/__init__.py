"""FETAL_PLANES_DB, planes of the fetal brain in ultrasound, from a folder in the published layout; see README.md."""

from input_pipeline.builders.fetal_planes.builder import FACTS, FetalPlanes

Builder = FetalPlanes

__all__ = ["FACTS", "Builder", "FetalPlanes"]
