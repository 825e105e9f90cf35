"""The command `config`: what it shows, what it refuses, and the commands of a sweep."""

import shlex

import pytest

from fetal_jax.cli.main import main


def test_every_setting_is_shown_with_its_documentation(capsys):
    command = ["config", "--config", "configs/ss_case_unet.py:dataset=hc18", "--config.stages.retrain.epochs=7"]
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "stages.retrain.epochs = 7  # passes over the images that the stage draws" in lines
    assert any(line.startswith("batch_size = 8  # ") for line in lines)
    assert "structures = ['head']  # classes to segment; none named: all of the dataset" in lines
    keys = [line.split(" = ")[0] for line in lines]
    assert len(set(keys)) == len(keys)
    undocumented = [line for line in lines if "  # " not in line and not line.startswith(("model.", "stages."))]
    assert undocumented == []


def test_a_sweep_is_listed_as_commands_that_can_be_run(capsys):
    assert main(["config", "--config", "configs/supervised.py", "--config.size=64", "--sweep"]) == 0
    commands = [shlex.split(line) for line in capsys.readouterr().out.splitlines()]
    assert len({tuple(command) for command in commands}) == len(commands) == 9
    for command in commands:
        assert command[:5] == ["fetal-jax", "train", "--config", "configs/supervised.py", "--config.size=64"]
    assert len({command[-1] for command in commands}) == 9  # workdirs


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config.stages.retrain.method.name=cpss"], "stages.retrain.method 'cpss' is unknown: choose one of cps"),
        (["--config.stages.retrain.method.decay=0.9"], "stages.retrain.method.decay is not an option of self_training"),
        (["--config.epochs=3"], "config key 'epochs' is unknown"),
        (["--sweep"], "config configs/ss_case_unet.py has no sweep()"),
    ],
)
def test_what_training_would_refuse_is_refused(capsys, arguments, message):
    assert main(["config", "--config", "configs/ss_case_unet.py", *arguments]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--coordinator", "127.0.0.1:1"], "--processes is missing: give --coordinator, --processes and --process"),
        (["--processes", "2", "--process", "0"], "--coordinator is missing"),
        (["--coordinator", "127.0.0.1:1", "--processes", "2", "--process", "2"], "--process is 2: it must be 0 to 1"),
    ],
)
def test_processes_that_cannot_find_each_other_are_refused(capsys, tmp_path, arguments, message):
    command = ["train", "--config", "configs/supervised.py", "--workdir", str(tmp_path / "run"), *arguments]
    assert main(command) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
