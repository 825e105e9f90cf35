"""The command line answers wrong input with one line and exit code 2, and writes nothing."""

import subprocess
import sys

import pytest

from fetal_jax.cli.main import main

TINY = "configs/ss_case_unet.py:dataset=fetal_phantom/tiny,size=32"


def run(*arguments):
    return main([str(argument) for argument in arguments])


@pytest.fixture
def train(data_dir, tmp_path):
    """Runs `train` on the tiny phantom with extra arguments; the workdir is tmp_path / "run"."""

    def call(*extra, config=TINY):
        return run("--data-dir", data_dir, "train", "--config", config, "--workdir", tmp_path / "run", *extra)

    return call


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom fetal_jax.cli.main import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit as stop:\n    assert stop.code == 0\n"
        "heavy = {'jax', 'numpy', 'flax', 'ml_collections', 'cv2', 'tensorflow_datasets'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("extra", "config", "message"),
    [
        (["--config.batchsize=4"], TINY, "config key 'batchsize' is unknown: did you mean 'batch_size'?"),
        (["--config.stages.decoder=4"], TINY, "config key 'stages.decoder' is a group"),
        (["--config.batch_size=many"], TINY, "config key 'batch_size' must be of type int: got 'many'"),
        (["--config.split.labelled=0"], TINY, "split.labelled is 0: ask for at least 1 labelled image"),
        (["--config.split.test=0"], TINY, "split.test is 0: it must be at least 1"),
        (["--config.split.test=900"], TINY, "split.test asks for 900 images but only"),
        (["--config.evaluation.tta=sideways"], TINY, "tta 'sideways' is unknown"),
        (["--config.model.name=case_net"], TINY, "'case_net'"),
        (["--config.dataset=hc81"], TINY, "dataset=hc81 is unknown: choose one of fetal_phantom, hc18"),
        (["--config.structures=tail"], TINY, "structures names 'tail'"),
        (["--config.stages.retrain.pseudo_labeller=oracle"], TINY, "pseudo_labeller 'oracle' is unknown"),
        (["--config.stages.retrain.labeller=naive"], TINY, "config key 'stages.retrain.labeller' is unknown: did you"),
        (["--config.stages.retrain.augment=blurry"], TINY, "augment 'blurry' is unknown"),
        (
            ["--config.stages=decoder,fine"],
            TINY,
            "config key 'stages' names 'fine': choose from decoder, fine_tune, re",
        ),
        (["--config.stages="], TINY, "stages is empty: name at least one stage"),
        (["--config.stages.retrain.method.name=mean_techer"], TINY, "method 'mean_techer' is unknown"),
        (["--config.stages.retrain.method.decay=0.9"], TINY, "method.decay is not an option of self_training"),
        (["--config.model.widht=4"], TINY, "unknown option 'widht' of model 'case_unet'"),
        (["--config.batch_size=6"], TINY, "batch_size is 6: it must be a multiple of the 4 devices"),
        (["--config.unlabelled_per_batch=8"], TINY, "unlabelled_per_batch is 8"),
        ([], "configs/nothing.py", "config configs/nothing.py is not a Python file"),
        ([], "configs/ss_case_unet.py:sise=32", "config argument 'sise' is unknown: did you mean 'size'?"),
        ([], "configs/ss_case_unet.py:dataset=hc18", "fetal-jax data prepare hc18/training --source DIR"),
    ],
)
def test_wrong_input_is_one_line_and_nothing_is_written(train, tmp_path, capsys, extra, config, message):
    small = ["--config.split.labelled=8", "--config.split.unlabelled=4"]
    small += ["--config.split.validation=3", "--config.split.test=3"]
    known = [] if "nothing" in config or "sise" in config else small
    assert train(*known, *extra, config=config) == 2
    lines = capsys.readouterr().err.splitlines()
    assert message in lines[-1]
    assert len([line for line in lines if line.startswith("fetal-jax:")]) == 1
    assert not (tmp_path / "run").exists()


def test_a_key_that_nothing_reads_is_an_error(train, tmp_path, capsys):
    path = tmp_path / "mine.py"
    path.write_text(
        "from configs import ss_case_unet\n"
        "def get_config(argument=''):\n"
        "    config = ss_case_unet.get_config('dataset=fetal_phantom/tiny,size=32')\n"
        "    config.momentum = 0.9\n"
        "    return config\n"
    )
    assert train(config=str(path)) == 2
    assert "config key 'momentum' is unknown, nothing reads it: choose from seed, dataset" in capsys.readouterr().err


def test_a_workdir_of_another_config_is_refused_and_left_alone(train, tmp_path, capsys):
    workdir = tmp_path / "run"
    workdir.mkdir()
    sizes = ["--config.split.labelled=8", "--config.split.unlabelled=4"]
    sizes += ["--config.split.validation=3", "--config.split.test=3"]
    for written, message in (
        ('{"format": 2, "seed": 1}', "belongs to another config"),
        ('{"seed": 1}', "config.json has format 1, of fetal_jax 0.1: install that version for this workdir"),
        ('{"format": 3, "seed": 1}', "config.json has format 3, this version reads 2: install a newer fetal_jax"),
    ):
        (workdir / "config.json").write_text(written)
        assert train(*sizes) == 2
        (line,) = capsys.readouterr().err.splitlines()[-1:]
        assert line.startswith("fetal-jax: ")
        assert message in line
        assert (workdir / "config.json").read_text() == written
        assert {path.name for path in workdir.iterdir()} <= {"config.json", ".lock"}


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_a_folder_that_is_no_workdir_is_named(command, data_dir, tmp_path, capsys):
    extra = ["--out", tmp_path / "out", tmp_path / "a.png"] if command == "predict" else []
    assert run("--data-dir", data_dir, command, "--workdir", tmp_path / "nothing", *extra) == 2
    assert str(tmp_path / "nothing") in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_workdir_whose_run_has_just_begun_is_not_evaluated(data_dir, tmp_path, capsys):
    """It has a config and a split, and no checkpoint of a finished stage."""
    from fetal_jax.core import config
    from fetal_jax.experiment import Experiment
    from fetal_jax.workdir import Workdir

    sizes = {"labelled": "8", "unlabelled": "4", "validation": "3", "test": "3"}
    settings = config.load(TINY, [(f"split.{part}", size) for part, size in sizes.items()])
    experiment, workdir = Experiment(settings, data_dir), tmp_path / "run"
    workdir.mkdir()
    Workdir(workdir).claim(settings, experiment.splits, experiment.dataset.subjects)
    for extra in ([], ["--tta", "auto", "--explain", "2"]):
        assert run("--data-dir", data_dir, "evaluate", "--workdir", workdir, *extra) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line == f"fetal-jax: {workdir} has no finished stage: run fetal-jax train with this --workdir first"
    assert sorted(path.name for path in workdir.iterdir()) == [".lock", "config.json", "splits.json"]
    assert run("predict", "--workdir", workdir, "--out", tmp_path / "out", tmp_path / "a.png") == 2
    assert f"{workdir} has no model" in capsys.readouterr().err
    assert run("compare", workdir, tmp_path / "other") == 2
    assert f"{workdir} has no per_image.csv: run fetal-jax evaluate" in capsys.readouterr().err


def test_tables_of_published_scores_are_checked(tmp_path, capsys):
    table = tmp_path / "scores.csv"
    table.write_text("method,precision,recall,dice\nA,0.9,0.9,0.9\n")
    assert run("check-table", table) == 0
    capsys.readouterr()
    assert run("check-table", tmp_path / "missing.csv") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(tmp_path / "missing.csv") in line


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda mask: mask[:-3], r"S01_a.png"),
        (lambda mask: mask + 9, r"S01_a.png"),
    ],
    ids=["of another size", "with a label that is no class"],
)
def test_masks_that_do_not_fit_are_refused_when_they_are_prepared(tmp_path, capsys, damage, message):
    import cv2

    from input_pipeline.builders.folder.dummy import dummy_data

    source = tmp_path / "source"
    dummy_data(source)
    path = source / "masks" / "S01_a.png"
    cv2.imwrite(str(path), damage(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)))
    (source / "dataset.json").write_text('{"classes": ["background", "head"]}')
    assert run("--data-dir", tmp_path / "data", "data", "prepare", "folder", "--source", source) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_a_source_that_is_wrong_leaves_no_dataset(tmp_path, capsys):
    data = tmp_path / "data"
    assert run("--data-dir", data, "data", "prepare", "hc18", "--source", tmp_path / "missing") == 2
    assert str(tmp_path / "missing") in capsys.readouterr().err
    assert not (data / "hc18" / "1.0.0").exists()


def test_a_source_that_went_wrong_leaves_the_old_dataset(tmp_path, capsys):
    from input_pipeline.builders.hc18.dummy import dummy_data

    data, source = tmp_path / "data", tmp_path / "source"
    dummy_data(source)
    assert run("--data-dir", data, "data", "prepare", "hc18", "--source", source) == 0
    (next((source / "training_set").glob("*_HC.png"))).write_bytes(b"")
    assert run("--data-dir", data, "data", "prepare", "hc18", "--source", source, "--overwrite") == 2
    capsys.readouterr()
    assert run("--data-dir", data, "data", "list") == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("hc18"))
    assert "not prepared" not in line
