"""Configs: loading, overriding, what follows from what, refusing what is unknown, and the config of a workdir."""

import json
import os

import pytest

from fetal_jax.core import config
from fetal_jax.core.types import UserError

SOURCE = """
from ml_collections import ConfigDict

def get_config(argument=""):
    settings = {"argument": argument, "seed": 0, "rate": 1e-3, "flip": False, "names": ("a", "b"), "tags": ["x"]}
    stages = [
        {"name": name, "epochs": epochs, "frozen": (), "method": {"name": "supervised"}, "loss_weights": {}}
        for name, epochs in (("decoder", 2), ("fine_tune", 24), ("retrain", 10))
    ]
    groups = {"model": {"name": "unet", "dropout": 0.1}, "optimizer": {"name": "adam"}, "stages": stages}
    return ConfigDict(settings | groups)
"""
# Half of a batch, a group and a list of stages follow from other settings.
FOLLOWING = """
from ml_collections import ConfigDict
from fetal_jax.core.config import follows, override

SPLITS = {"a": {"test": 10, "seed": 0}, "b": {"test": 20, "seed": 0}}

def get_config(argument=""):
    config = ConfigDict(type_safe=False)
    config.dataset = "a"
    config.batch_size = follows(lambda c: 8 if c.dataset == "a" else 4)
    config.half = follows(lambda c: c.batch_size // 2)
    config.split = follows(lambda c: SPLITS[c.dataset])
    config.stages = follows(lambda c: [{"name": "first", "steps": c.split.test}, {"name": "second", "steps": c.half}])
    for key in filter(None, argument.split(",")):
        override(config, key, 7)
    return config
"""


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "example.py"
    path.write_text(SOURCE)
    return path


@pytest.fixture
def following(tmp_path):
    """Loads a config whose settings follow from each other, with overrides."""
    path = tmp_path / "following.py"
    path.write_text(FOLLOWING)
    return lambda *overrides, argument="": config.load(f"{path}:{argument}", list(overrides))


def get(settings, key):
    for part in key.split("."):
        settings = settings[part] if isinstance(settings, dict) else {s["name"]: s for s in settings}[part]
    return settings


def test_a_config_is_plain_data(path):
    settings = config.load(str(path))
    assert settings["names"] == ["a", "b"]
    assert settings["model"] == {"name": "unet", "dropout": 0.1}
    assert settings == json.loads(json.dumps(settings))


@pytest.mark.parametrize("argument", ["", "hc18", "dataset=hc18,size=128", "a:b"])
def test_the_argument_reaches_get_config(path, argument):
    assert config.load(f"{path}:{argument}")["argument"] == argument


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("seed", "12", 12),
        ("rate", "3", 3.0),
        ("rate", "1e-4", 1e-4),
        ("flip", "true", True),
        ("flip", "False", False),
        ("names", "c,d,e", ["c", "d", "e"]),
        ("names", "c", ["c"]),
        ("names", "", []),
        ("tags", "y,z", ["y", "z"]),
        ("model.name", "case_unet", "case_unet"),
        ("model.dropout", "0", 0.0),
    ],
)
def test_an_override_takes_the_type_of_what_it_overrides(path, key, text, value):
    found = get(config.load(str(path), [(key, text)]), key)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("stage", ["fine_tune", "1"])
def test_a_stage_goes_by_its_name_or_its_number(path, stage):
    settings, plain = config.load(str(path), [(f"stages.{stage}.epochs", "30")]), config.load(str(path))
    assert [s["epochs"] for s in settings["stages"]] == [2, 30, 10]
    assert config.differences(plain, settings) == ["stages.fine_tune.epochs"]
    frozen = config.load(str(path), [(f"stages.{stage}.frozen", "encoder,decoder")])
    assert [s["frozen"] for s in frozen["stages"]] == [[], ["encoder", "decoder"], []]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("decoder,retrain", ["decoder", "retrain"]),
        ("retrain,decoder", ["retrain", "decoder"]),
        ("fine_tune", ["fine_tune"]),
        ("", []),
    ],
)
def test_stages_are_selected_by_their_names(path, text, names):
    whole = {stage["name"]: stage for stage in config.load(str(path))["stages"]}
    assert config.load(str(path), [("stages", text)])["stages"] == [whole[name] for name in names]


def test_a_selected_stage_keeps_its_overrides(path):
    overrides = [("stages.retrain.epochs", "3"), ("stages", "retrain"), ("stages.0.method.decay", "0.5")]
    (stage,) = config.load(str(path), overrides)["stages"]
    assert (stage["name"], stage["epochs"], stage["method"]) == ("retrain", 3, {"name": "supervised", "decay": 0.5})


@pytest.mark.parametrize("key", ["model.width", "stages.retrain.method.decay", "stages.retrain.loss_weights.dice"])
@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8", 8),
        ("0.5", 0.5),
        ("1e-3", 1e-3),
        ("-2", -2),
        ("true", True),
        ("False", False),
        ("b0", "b0"),
        ("(1, 2)", "(1, 2)"),
    ],
)
def test_some_groups_take_options_that_the_config_does_not_list(path, key, text, value):
    found = get(config.load(str(path), [(key, text)]), key)
    assert found == value
    assert type(found) is type(value)


def test_the_last_override_wins_and_the_rest_stays(path):
    settings = config.load(str(path), [("seed", "1"), ("seed", "2")])
    assert settings == config.load(str(path)) | {"seed": 2}


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("seed", "1.5", "'seed' must be of type int: got '1.5'"),
        ("seed", "", "'seed' must be of type int"),
        ("rate", "fast", "'rate' must be of type float: got 'fast'"),
        ("flip", "1", "'flip' must be of type bool: got '1'"),
        ("optimizer.nme", "x", "'optimizer.nme' is unknown: did you mean 'optimizer.name'"),
        ("stages.fine_tune.epoch", "3", "'stages.fine_tune.epoch' is unknown: did you mean 'stages.fine_tune.epochs'"),
        ("stages.fine.epochs", "3", "'stages.fine.epochs' is unknown: there is no 'fine', choose from decoder, fine_t"),
        ("stages.3.epochs", "3", "there is no '3', choose from decoder, fine_tune, retrain"),
        ("stages.fine_tune", "3", "'stages.fine_tune' is a group: set one of its keys"),
        ("stages", "decoder,fine", "'stages' names 'fine': choose from decoder, fine_tune, retrain"),
        ("stages.decoder.epochs", "many", "'stages.decoder.epochs' must be of type int: got 'many'"),
        ("stages.decoder.method", "cps", "'stages.decoder.method' is a group: set one of stages.decoder.method.name"),
        ("sed", "1", "did you mean 'seed'"),
        ("zzzzzz", "1", r"known keys are .*model\.dropout.*stages\.retrain\.epochs"),
        ("seed.x", "1", "'seed.x' is unknown"),
        ("model.name.x", "1", "'model.name.x' is unknown"),
        ("nothing.x", "1", "'nothing.x' is unknown"),
        ("model", "unet", "'model' is a group: set one of model.dropout, model.name"),
    ],
)
def test_a_wrong_override_names_its_key_and_the_remedy(path, key, text, message):
    with pytest.raises(UserError, match=message):
        config.load(str(path), [(key, text)])


def test_a_file_that_is_no_config_is_refused(path):
    with pytest.raises(UserError, match=r"nowhere\.py is not a Python file: give the path of one with get_config"):
        config.load(str(path.with_name("nowhere.py")))
    path.with_name("notes.txt").write_text(SOURCE)
    with pytest.raises(UserError, match=r"notes\.txt is not a Python file"):
        config.load(str(path.with_name("notes.txt")))
    path.write_text("x = 1\n")
    with pytest.raises(UserError, match=r"example\.py has no get_config"):
        config.load(str(path))
    path.write_text("def get_config(argument):\n    return {'seed': 0}\n")
    with pytest.raises(UserError, match=r"example\.py: get_config\(\) must return a ConfigDict, not dict"):
        config.load(str(path))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import nothing_of_that_name", "fails with ModuleNotFoundError: No module named 'nothing_of_that_name'"),
        ("def get_config(argument:", "fails with SyntaxError"),
        ("def get_config(argument):\n    return 1 / 0", "fails with ZeroDivisionError: division by zero"),
        (
            "from ml_collections import ConfigDict\ndef get_config(argument):\n    return ConfigDict({'seed': open})",
            "fails with TypeError: .* is not JSON serializable",
        ),
        (FOLLOWING.replace("c.dataset ==", "c.datset =="), "fails with AttributeError: no setting 'datset'"),
    ],
)
def test_a_config_that_fails_is_told_in_a_line(path, source, message):
    path.write_text(source)
    with pytest.raises(UserError, match=rf"config \S*example\.py {message}") as caught:
        config.load(str(path))
    assert "\n" not in str(caught.value)


SHARING = """
from ml_collections import ConfigDict
from fetal_jax.core.config import follows

METHOD = {"name": "supervised"}

def stages(c):
    return [{"name": name, "method": METHOD, "loss_weights": {}} for name in ("a", "b")]

def get_config(argument):
    config = ConfigDict(type_safe=False)
    config.stages = stages(config) if argument == "fixed" else follows(stages)
    return config
"""


@pytest.mark.parametrize("argument", ["fixed", "following"])
def test_an_override_of_one_stage_changes_no_other_that_was_built_of_the_same_dict(tmp_path, argument):
    path = tmp_path / "sharing.py"
    path.write_text(SHARING)
    settings = config.load(f"{path}:{argument}", [("stages.a.method.name", "cps"), ("stages.a.method.weight", "2")])
    assert [s["method"] for s in settings["stages"]] == [{"name": "cps", "weight": 2}, {"name": "supervised"}]


def test_an_override_of_one_load_is_not_in_the_next():
    """The dicts that configs share are in modules that stay imported."""
    spec, key = "configs/ss_case_unet.py", "stages.decoder.loss_weights.dice"
    before = config.load(spec)
    changed = config.load(spec, [(key, "0.5"), ("stages.decoder.method.name", "cps"), ("split.test", "3")])
    assert config.differences(before, changed) == [
        "split.test",
        "stages.decoder.loss_weights.dice",
        "stages.decoder.method.name",
    ]
    assert config.load(spec) == before


def test_what_follows_is_computed_from_what_it_follows(following):
    assert following() == {
        "dataset": "a",
        "batch_size": 8,
        "half": 4,
        "split": {"test": 10, "seed": 0},
        "stages": [{"name": "first", "steps": 10}, {"name": "second", "steps": 4}],
    }


@pytest.mark.parametrize(
    ("overrides", "changed"),
    [
        # Of a plain setting: all follow.
        (
            [("dataset", "b")],
            {"batch_size": 4, "half": 2, "split.test": 20, "stages.first.steps": 20, "stages.second.steps": 2},
        ),
        # Of one that itself follows: those behind it follow on.
        ([("batch_size", "32")], {"half": 16, "stages.second.steps": 16}),
        ([("half", "1")], {"stages.second.steps": 1}),
        # Inside of a group, or a stage, that follows: the rest of it stays.
        ([("split.test", "3")], {"stages.first.steps": 3}),
        (
            [("split.seed", "5"), ("dataset", "b")],
            {"batch_size": 4, "half": 2, "split.test": 20, "stages.first.steps": 20, "stages.second.steps": 2},
        ),
        ([("stages.second.steps", "9")], {}),
        ([("stages.1.steps", "9"), ("stages.1.steps", "6")], {}),
    ],
)
def test_overrides_and_what_follows_from_them(following, overrides, changed):
    """In any order of the overrides of different keys."""
    plain, settings = following(), following(*overrides)
    numbers = {"stages.1.steps": "stages.second.steps"}
    expected = changed | {numbers.get(key, key): text for key, text in overrides}
    assert sorted(config.differences(plain, settings)) == sorted(expected)
    assert {key: str(get(settings, key)) for key in expected} == {key: str(value) for key, value in expected.items()}
    if len({key for key, _ in overrides}) > 1:
        assert following(*reversed(overrides)) == settings


def test_stages_that_follow_can_be_selected(following):
    assert following(("stages", "second"), ("batch_size", "2"))["stages"] == [{"name": "second", "steps": 1}]


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("batch_size", "many", "'batch_size' must be of type int: got 'many'"),
        ("split", "b", r"'split' is a group: set one of split\.test, split\.seed"),
        ("split.tets", "3", r"'split\.tets' is unknown: did you mean 'split\.test'"),
        ("stages.third.steps", "3", "there is no 'third', choose from first, second"),
        ("splt.test", "3", "'splt.test' is unknown"),
    ],
)
def test_wrong_overrides_of_what_follows_are_refused(following, key, text, message):
    with pytest.raises(UserError, match=message):
        following((key, text))


def test_settings_that_follow_from_each_other_are_refused(path):
    path.write_text(FOLLOWING.replace("8 if c.dataset", "8 if c.half"))
    with pytest.raises(UserError, match="config key 'batch_size' follows from itself: set it to a value"):
        config.load(str(path))


def test_a_config_overrides_the_one_that_it_builds_on(following):
    """Before the user does; also inside of what follows."""
    settings = following(argument="split.test,stages.second.steps,batch_size")
    assert (settings["batch_size"], settings["half"], settings["split"]["test"]) == (7, 3, 7)
    assert settings["stages"] == [{"name": "first", "steps": 7}, {"name": "second", "steps": 7}]
    users = following(("split.test", "5"), argument="split.test,stages.second.steps")
    assert users["stages"] == [{"name": "first", "steps": 5}, {"name": "second", "steps": 7}]
    assert "overrides" not in users
    with pytest.raises(UserError, match=r"'stages\.third\.steps' is unknown"):
        following(argument="stages.third.steps")


def test_override_takes_values_and_selects_stages(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        FOLLOWING.replace(
            "    return config",
            "    override(config, 'stages', ('second', 'first'))\n    override(config, 'dataset', 'b')\n"
            "    return config",
        )
    )
    settings = config.load(str(path))
    assert settings["stages"] == [{"name": "second", "steps": 2}, {"name": "first", "steps": 20}]


def test_a_sweep_is_a_list_of_overrides(path):
    with pytest.raises(UserError, match=r"example\.py has no sweep\(\): add a function that returns a list"):
        config.sweep(str(path))
    path.write_text(
        SOURCE
        + "\ndef sweep(argument=''):\n"
        + "    points = [{'rate': rate, 'names': ('a', argument)} for rate in (1e-4, 2.5)]\n"
        + "    return [*points, {'flip': True, 'stages': ('decoder',)}]\n"
    )
    points = config.sweep(f"{path}:c")
    assert points[0] == [("rate", "0.0001"), ("names", "a,c")]
    loaded = [config.load(str(path), point) for point in points]
    assert [(values["rate"], values["names"]) for values in loaded[:2]] == [(1e-4, ["a", "c"]), (2.5, ["a", "c"])]
    assert loaded[2]["flip"] is True
    assert [stage["name"] for stage in loaded[2]["stages"]] == ["decoder"]


def test_differences_are_dotted_and_sorted():
    old = {"seed": 0, "model": {"name": "unet", "dropout": 0.1}, "tags": ["a"], "gone": None}
    new = {"seed": 0, "model": {"name": "case_unet", "dropout": 0.1}, "tags": ["a", "b"], "new": 1}
    assert config.differences(old, new) == ["gone", "model.name", "new", "tags"]
    assert config.differences(old, old) == []


def test_differences_of_stages_go_by_their_names():
    first, second = {"name": "a", "epochs": 1, "method": {"name": "cps"}}, {"name": "b", "epochs": 2}
    assert config.differences({"stages": [first, second]}, {"stages": [first, second | {"epochs": 3}]}) == [
        "stages.b.epochs"
    ]
    changed = first | {"method": {"name": "cps", "weight": 2}}
    assert config.differences({"stages": [first]}, {"stages": [changed]}) == ["stages.a.method.weight"]
    for other in ([second], [second, first], [first], []):
        assert config.differences({"stages": [first, second]}, {"stages": other}) == ["stages"]


def test_a_workdir_keeps_its_config(path, tmp_path):
    workdir, settings = tmp_path / "runs" / "first", config.load(str(path))
    config.write_or_compare(settings, workdir)
    config.write_or_compare(config.load(str(path)), workdir)
    assert config.read(workdir) == settings
    assert os.listdir(workdir) == ["config.json"]
    assert json.loads((workdir / "config.json").read_text()) == {"format": 2} | settings


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"seed": 1}, r"config\.json has format 1, of fetal_jax 0\.1: install that version .* or train in another"),
        ({"format": 3, "seed": 1}, r"config\.json has format 3, this version reads 2: install a newer fetal_jax"),
    ],
)
def test_a_config_of_another_format_is_refused(path, tmp_path, written, message):
    (tmp_path / "config.json").write_text(json.dumps(written))
    with pytest.raises(UserError, match=message):
        config.read(tmp_path)
    with pytest.raises(UserError, match=message):
        config.write_or_compare(config.load(str(path)), tmp_path)
    assert json.loads((tmp_path / "config.json").read_text()) == written


@pytest.mark.parametrize(
    "content", [b"{", b"[]", b"3", b"[1]", b"\xff\xfe", b"", b'{"format": "new"}', b'{"format": null}']
)
def test_a_damaged_config_is_refused(path, tmp_path, content):
    (tmp_path / "config.json").write_bytes(content)
    for look in (lambda: config.read(tmp_path), lambda: config.write_or_compare(config.load(str(path)), tmp_path)):
        with pytest.raises(
            UserError, match=r"config\.json is damaged: restore the file, or train in another --workdir"
        ):
            look()


def test_a_workdir_refuses_another_config_and_stays_as_it_is(path, tmp_path):
    workdir = tmp_path / "run"
    config.write_or_compare(config.load(str(path)), workdir)
    before = (workdir / "config.json").read_bytes()
    with pytest.raises(UserError, match=r"run belongs to another config \(model\.dropout differs\)"):
        config.write_or_compare(config.load(str(path), [("model.dropout", "0.2")]), workdir)
    with pytest.raises(UserError, match=r"\(stages\.decoder\.epochs differs\)"):
        config.write_or_compare(config.load(str(path), [("stages.decoder.epochs", "3")]), workdir)
    assert (workdir / "config.json").read_bytes() == before


def test_a_write_that_fails_leaves_no_config(path, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        config.write_or_compare(config.load(str(path)), tmp_path / "run")
    with pytest.raises(UserError, match=r"run is not a workdir \(no config\.json\)"):
        config.read(tmp_path / "run")


def test_another_network_or_method_does_not_keep_the_options_of_the_one_before():
    overrides = [
        ("model.width", "8"),
        ("model.name", "plain_unet"),
        ("stages.retrain.method.weight", "2"),
        ("stages.retrain.method.name", "cps"),
    ]
    settings = config.load("configs/ss_case_unet.py", overrides)
    assert settings["model"] == {"name": "plain_unet", "width": 8}
    assert settings["stages"][2]["method"] == {"name": "cps", "weight": 2}
    same = config.load("configs/ss_case_unet.py", [("stages.retrain.method.name", "self_training")])
    assert same["stages"][2]["method"] == {"name": "self_training", "consistency": 1.0}


def test_the_quickstart_without_a_pool_has_no_stage_for_it():
    settings = config.load("configs/quickstart.py", [("split.unlabelled", "0")])
    assert [(stage["name"], stage["epochs"]) for stage in settings["stages"]] == [("decoder", 1), ("fine_tune", 24)]
    assert settings["unlabelled_per_batch"] == 0


def test_a_value_inside_a_group_cannot_follow(tmp_path):
    path = tmp_path / "nested.py"
    path.write_text(
        "from ml_collections import ConfigDict\nfrom fetal_jax.core.config import follows\n\n"
        "def get_config(argument=''):\n    return ConfigDict({'a': {'b': follows(lambda c: 1)}}, type_safe=False)\n"
    )
    with pytest.raises(UserError, match=r"'a\.b' follows from others inside a group: let the whole group follow"):
        config.load(str(path))
