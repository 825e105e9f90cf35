"""Typed settings: made of plain data, every wrong key or value refused by its full name."""

import dataclasses
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetal_jax.core import config, settings
from fetal_jax.core.settings import setting
from fetal_jax.core.types import UserError
from fetal_jax.training.settings import RunSettings


@dataclasses.dataclass(frozen=True)
class Optimizer:
    name: str = setting("adam or sgd")
    decay: float = setting("of the kernels")


@dataclasses.dataclass(frozen=True)
class Stage:
    name: str = setting("of the stage")
    epochs: int = setting("passes")
    frozen: tuple[str, ...] = setting("groups")
    method: dict[str, Any] = setting("name and options")
    weights: dict[str, float] = setting("of the terms")


@dataclasses.dataclass(frozen=True)
class Patches:
    per_volume: int = setting("patches of each volume")


@dataclasses.dataclass(frozen=True)
class Run:
    seed: int = setting("of everything")
    flip: bool = setting("whether to mirror")
    optimizer: Optimizer = setting("the optimizer")
    stages: tuple[Stage, ...] = setting("the protocol")
    patches: Patches | None = setting("of volumes")


STAGE = {"name": "first", "epochs": 3, "frozen": ["encoder"], "method": {"name": "cps", "weight": 2}, "weights": {}}
VALUES = {"seed": 0, "flip": False, "optimizer": {"name": "adam", "decay": 0.5}, "stages": [STAGE]}


def made(**changes):
    return settings.from_dict(Run, VALUES | changes)


def test_plain_data_becomes_typed_settings():
    found = made()
    assert found == Run(
        seed=0,
        flip=False,
        optimizer=Optimizer("adam", 0.5),
        stages=(Stage("first", 3, ("encoder",), {"name": "cps", "weight": 2}, {}),),
        patches=None,
    )
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.seed = 1


def test_an_optional_group_may_be_missing_or_none_but_is_checked_where_it_is():
    assert made().patches is made(patches=None).patches is None
    assert made(patches={"per_volume": 9}).patches == Patches(9)
    with pytest.raises(UserError, match=r"config key 'patches\.per_volume' is missing: it is patches of each volume"):
        made(patches={})
    with pytest.raises(UserError, match=r"'patches' must be a group of keys: got 9"):
        made(patches=9)


def test_a_whole_number_may_stand_for_a_number_and_for_nothing_else():
    found = made(optimizer={"name": "adam", "decay": 1}, stages=[STAGE | {"weights": {"dice": 2}}])
    assert (found.optimizer.decay, type(found.optimizer.decay)) == (1.0, float)
    assert type(found.stages[0].weights["dice"]) is float
    assert type(found.stages[0].method["weight"]) is int  # of any type: its reader checks


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1.0}, "'seed' must be a whole number: got 1.0"),
        ({"seed": True}, "'seed' must be a whole number: got True"),
        ({"seed": "1"}, "'seed' must be a whole number: got '1'"),
        ({"seed": None}, "'seed' must be a whole number: got None"),
        ({"flip": 1}, "'flip' must be true or false: got 1"),
        ({"flip": "no"}, "'flip' must be true or false: got 'no'"),
        ({"optimizer": {"name": 3, "decay": 0.1}}, r"'optimizer\.name' must be text: got 3"),
        ({"optimizer": {"name": "adam", "decay": "a"}}, r"'optimizer\.decay' must be a number: got 'a'"),
        ({"optimizer": {"name": "adam", "decay": True}}, r"'optimizer\.decay' must be a number: got True"),
        ({"optimizer": {"name": "adam", "decay": math.nan}}, r"'optimizer\.decay' is not a number: give one"),
        ({"optimizer": "adam"}, "'optimizer' must be a group of keys: got 'adam'"),
        ({"stages": "first"}, "'stages' must be a list: got 'first'"),
        ({"stages": {"first": STAGE}}, "'stages' must be a list: got {'first'"),
        ({"stages": ["first"]}, r"'stages\.0' must be a group of keys: got 'first'"),
        ({"stages": [STAGE | {"epochs": "3"}]}, r"'stages\.first\.epochs' must be a whole number: got '3'"),
        ({"stages": [STAGE | {"frozen": "encoder"}]}, r"'stages\.first\.frozen' must be a list: got 'encoder'"),
        ({"stages": [STAGE | {"frozen": [1]}]}, r"'stages\.first\.frozen\.0' must be text: got 1"),
        ({"stages": [STAGE | {"method": "cps"}]}, r"'stages\.first\.method' must be a group of keys: got 'cps'"),
        ({"stages": [STAGE | {"weights": {"dice": "a"}}]}, r"'stages\.first\.weights\.dice' must be a number: got 'a'"),
        ({"stages": [STAGE, STAGE | {"name": 2}]}, r"'stages\.1\.name' must be text: got 2"),
    ],
)
def test_a_value_of_another_type_is_refused_by_its_full_name(changes, message):
    with pytest.raises(UserError, match=f"^config key {message}"):
        made(**changes)


@pytest.mark.parametrize("missing", ["seed", "flip", "optimizer", "stages"])
def test_a_missing_key_is_told_with_what_it_is(missing):
    values = {key: value for key, value in VALUES.items() if key != missing}
    doc = {field.name: field.metadata["doc"] for field in dataclasses.fields(Run)}[missing]
    with pytest.raises(UserError, match=f"^config key '{missing}' is missing: it is {doc}$"):
        settings.from_dict(Run, values)


def test_a_missing_key_of_a_group_or_a_stage_has_its_full_name():
    with pytest.raises(UserError, match=r"'optimizer\.decay' is missing"):
        made(optimizer={"name": "adam"})
    nameless = {key: value for key, value in STAGE.items() if key != "name"}
    with pytest.raises(UserError, match=r"'stages\.1\.name' is missing: it is of the stage"):
        made(stages=[STAGE, nameless])
    with pytest.raises(UserError, match=r"'stages\.first\.epochs' is missing"):
        made(stages=[{key: value for key, value in STAGE.items() if key != "epochs"}])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sed": 1}, "'sed' is unknown, nothing reads it: did you mean 'seed'"),
        (
            {"momentum": 0.9},
            "'momentum' is unknown, nothing reads it: choose from seed, flip, optimizer, stages, patches",
        ),
        (
            {"optimizer": {"name": "adam", "decay": 0.1, "deca": 1}},
            r"'optimizer\.deca' .*did you mean 'optimizer\.decay'",
        ),
        ({"stages": [STAGE | {"epoch": 2}]}, r"'stages\.first\.epoch' .*did you mean 'stages\.first\.epochs'"),
    ],
)
def test_a_key_that_nothing_reads_is_refused_with_the_one_that_was_meant(changes, message):
    with pytest.raises(UserError, match=f"^config key {message}"):
        made(**changes)


def test_every_key_is_documented_in_its_order():
    assert list(settings.documented(Run)) == [
        ("seed", "of everything"),
        ("flip", "whether to mirror"),
        ("optimizer", "the optimizer"),
        ("optimizer.name", "adam or sgd"),
        ("optimizer.decay", "of the kernels"),
        ("stages", "the protocol"),
        ("stages.NAME.name", "of the stage"),
        ("stages.NAME.epochs", "passes"),
        ("stages.NAME.frozen", "groups"),
        ("stages.NAME.method", "name and options"),
        ("stages.NAME.weights", "of the terms"),
        ("patches", "of volumes"),
        ("patches.per_volume", "patches of each volume"),
    ]


def test_every_setting_of_a_run_has_a_line_and_every_config_has_every_setting():
    """Of the optional ones some config does."""
    documented = dict(settings.documented(RunSettings))
    assert all(line and "\n" not in line for line in documented.values())
    images, volumes = (config.load(f"configs/{name}.py") for name in ("ss_case_unet", "adu_net"))
    assert dataclasses.asdict(settings.from_dict(RunSettings, images))["patches"] is None
    keys = {key for values in (images, volumes) for key in _keys(values)}
    open_groups = ("model.", "stages.NAME.method.", "stages.NAME.loss_weights.")
    assert {key for key in keys if not key.startswith(open_groups)} == set(documented)


def _keys(values, path=""):
    for key, value in values.items():
        yield path + key
        if isinstance(value, dict):
            yield from _keys(value, f"{path}{key}.")
        elif key == "stages":
            for stage in value:
                yield from _keys(stage, f"{path}{key}.NAME.")


numbers = st.floats(allow_nan=False) | st.integers(-(2**53), 2**53)
groups = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5), max_size=3)
stages = st.fixed_dictionaries(
    {
        "name": st.text(max_size=5),
        "epochs": st.integers(),
        "frozen": st.lists(st.text(max_size=5), max_size=3),
        "method": groups,
        "weights": st.dictionaries(st.text(max_size=5), numbers, max_size=3),
    }
)
runs = st.fixed_dictionaries(
    {
        "seed": st.integers(),
        "flip": st.booleans(),
        "optimizer": st.fixed_dictionaries({"name": st.text(max_size=5), "decay": numbers}),
        "stages": st.lists(stages, max_size=3),
        "patches": st.none() | st.fixed_dictionaries({"per_volume": st.integers()}),
    }
)


@given(runs)
def test_settings_say_what_the_plain_data_said(values):
    """And come back from JSON as they were written."""
    found = settings.from_dict(Run, values)
    back = json.loads(json.dumps(dataclasses.asdict(found)))
    assert back == json.loads(json.dumps(values))
    assert settings.from_dict(Run, back) == found


@given(runs, st.sampled_from(["seed", "flip", "optimizer", "stages"]), st.text(min_size=1, max_size=8))
def test_no_key_is_lost_and_none_is_added(values, missing, unknown):
    with pytest.raises(UserError, match="is missing"):
        settings.from_dict(Run, {key: value for key, value in values.items() if key != missing})
    if unknown not in values:
        with pytest.raises(UserError, match="is unknown, nothing reads it"):
            settings.from_dict(Run, values | {unknown: 0})
