"""HC18, fetal heads in ultrasound with their circumference, from a folder in the published layout; see README.md."""

from input_pipeline.builders.hc18.builder import FACTS, Hc18

Builder = Hc18

__all__ = ["FACTS", "Builder", "Hc18"]
