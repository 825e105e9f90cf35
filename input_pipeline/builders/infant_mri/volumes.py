"""Converts the values of a label volume to class ids."""

import numpy as np
from jaxtyping import Shaped, UInt8

from input_pipeline.builders.infant_mri.scan import Classes


def to_class_ids(voxels: Shaped[np.ndarray, "d h w"], classes: Classes) -> UInt8[np.ndarray, "d h w"]:
    """Class ids of voxels. Raises ValueError, in words that follow the name of the file, for a value without one."""
    ids = np.zeros(voxels.shape, np.uint8)
    for value in np.unique(voxels):
        if float(value) not in classes.id_of:
            known = ", ".join(map(str, sorted(classes.id_of)[:10])) + (", ..." if len(classes.id_of) > 10 else "")
            raise ValueError(f"has the value {value:g}, which is not a class: expected {known}")
        ids[voxels == value] = classes.id_of[int(value)]
    return ids
