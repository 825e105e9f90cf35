"""The facts of a dataset: what follows from them."""

import pytest

from fetal_jax.core.types import DatasetFacts


@pytest.mark.parametrize(("dims", "unit"), [(2, "images"), (3, "volumes")])
def test_the_examples_of_a_dataset_have_a_name(dims, unit):
    facts = DatasetFacts("x", "X", ("background", "head"), ((0, 0, 0), (1, 2, 3)), "rule", "", "", dims=dims)
    assert facts.unit == unit
    assert facts.foreground == ("head",)
