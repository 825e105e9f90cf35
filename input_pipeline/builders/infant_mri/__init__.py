"""T1w and T2w volumes of the infant or fetal brain with tissue labels, from the user's folder. See README.md."""

from input_pipeline.builders.infant_mri.builder import FACTS, InfantMri

Builder = InfantMri

__all__ = ["FACTS", "Builder", "InfantMri"]
