"""Large Fetal Head Biometry, heads with CSP and lateral ventricles, from a folder as published; see README.md."""

from input_pipeline.builders.fetal_head_biometry.builder import FACTS, FetalHeadBiometry

Builder = FetalHeadBiometry

__all__ = ["FACTS", "Builder", "FetalHeadBiometry"]
