"""The benchmark of networks: how it speaks with its workers, what it concludes, and our own side of it."""

import json
import os
import sys
import textwrap

import jax
import pytest

from benchmarks import round_server
from benchmarks.models import benchmark as program
from benchmarks.models import jax_worker as ours
from benchmarks.models import report
from benchmarks.models.pairs import PAIRS, Task
from benchmarks.side_by_side import ROOT, ratio, worker
from fetal_jax.core.types import UserError
from fetal_jax.models import MODELS, options_of

SERVER = """
    from benchmarks.round_server import Refusal, serve

    def prepare(n):
        print("a library talks")
        if n == 0:
            raise Refusal("nothing to do: give n")
        if n == 1:
            import no_such_package
        if n == 2:
            raise SystemExit(3)
        return lambda: bytearray(n), {"n": n}

    serve(prepare)
"""


def served(program: str = SERVER):
    command = [sys.executable, "-c", textwrap.dedent(program)]
    return worker(command, "it failed", {"PYTHONPATH": str(ROOT)})


@pytest.mark.slow
def test_a_worker_prepares_and_takes_turns():
    with served() as ask:
        assert ask('{"prepare": {"n": 5}}') == {"n": 5}
        answer = ask('{"turn": 0.0}')
        assert answer["calls"] == 1
        assert answer["seconds"] > 0
        assert ask('{"turn": 0.5}')["calls"] > 1


@pytest.mark.parametrize(
    ("n", "message"), [(0, "nothing to do: give n"), (1, "No module named 'no_such_package'"), (2, "it failed")]
)
def test_what_a_worker_cannot_do_is_the_users_error(n, message):
    with served() as ask, pytest.raises(UserError, match=message):
        ask(f'{{"prepare": {{"n": {n}}}}}')


def test_memory_is_that_of_the_turn():
    with served() as ask:
        ask('{"prepare": {"n": 3}}')
        small = ask('{"turn": 0.0}')["peak_mb"]
        ask(f'{{"prepare": {{"n": {2**27}}}}}')
        assert 120 < ask('{"turn": 0.0}')["peak_mb"] - small < 140


def test_a_turn_gives_the_median_call(monkeypatch):
    """Calls of 1, 9 and 2 seconds fill a turn of eleven."""
    clock = iter([0, *(0, 1, 1), *(1, 10, 10), *(10, 12, 12)])  # the start of the turn; start, end of a call, a look
    monkeypatch.setattr(round_server.time, "perf_counter", lambda: next(clock))
    found = round_server.turn(lambda: None, 11.0, lambda: 7.0)
    assert found == {"seconds": 2, "calls": 3, "peak_mb": 7.0}


@pytest.mark.parametrize(
    ("low", "high", "word"), [(0.7, 0.8, "met"), (0.7, 0.9, "open"), (0.81, 0.9, "missed"), (0.5, 0.6, "met")]
)
def test_a_verdict_needs_the_whole_interval(low, high, word):
    assert report.verdict({"median": 0.75, "low": low, "high": high}, 0.8) == f"bar ≤ 0.80: {word}"


def row(**changes):
    seconds = {"ours": [0.1] * 6, "peer": [0.2] * 6}
    facts = {"parameters": 2_500_000, "gflop": 600.0, "forward_gflop": 200.0}
    return {
        "model": "case_unet",
        "task": "inference, batch 1",
        "batch": 4,
        "seconds": seconds,
        "ratio": ratio(seconds["ours"], seconds["peer"]),
        "bar": 0.8,
        "peak_mb": {"ours": 300.0, "peer": 400.0},
        "ours": facts | {"temp_mb": 20.0},
        "peer": {"parameters": 5_000_000, "first_call_s": 1.5},
    } | changes


def test_the_lines_say_what_was_measured():
    assert "ours    100.0 ms, peer    200.0 ms, ratio 0.50" in report.timing(row())
    assert report.timing(row()).endswith("(95 % interval 0.50 to 0.50); bar ≤ 0.80: met")
    assert report.timing(row(bar=None)).endswith("0.50)")
    assert "parameters 2.50 / 5.00 M, forward 200.0 GFLOP, peak memory 300 / 400 MB" in report.costs(row())
    line = report.compilation(row(compile_s={"cold": 21.0, "cached": 2.0}), {"cold": 20.0, "cached": 3.0})
    assert "cold 21.0 s (bar ≤ 20 s: missed), cached 2.0 s (bar ≤ 3 s: met); first call of the peer 1.5 s" in line


def test_on_an_accelerator_images_a_second_roofline_and_latency_are_told():
    """4 images and 600 GFLOP in 0.1 s: 40 images/s, 6 TFLOP/s of 100."""
    line = report.throughput(row(), 100.0, 3.0)
    assert line.strip() == "40 / 20 images/s, 6.0% of 100 TFLOP/s; bar ≤ 3 ms: missed"
    assert report.throughput(row(task="training, batch 4"), None, 3.0).strip() == "40 / 20 images/s"


def test_bars_are_those_of_the_task_and_platform():
    smp, timm = (next(pair for pair in PAIRS if pair.against == against) for against in ("smp", "timm"))
    assert [smp.bar(Task("inference", batch), "cpu") for batch in (1, 8)] == [0.8, None]
    assert smp.bar(Task("training", 8), "cpu") == 1.1
    assert timm.bar(Task("training", 8), "cpu") is None
    assert timm.bar(Task("training", 64), "gpu") == pytest.approx(1 / 1.5)


def test_pairs_name_networks_and_options_that_there_are():
    for pair in PAIRS:
        assert pair.model in MODELS
        assert set(pair.options) <= set(options_of(pair.model))


def test_batches_follow_the_platform():
    assert program.parse([]).batch == [1, 8]
    assert program.parse(["--platform", "gpu"]).batch == [1, 64]


def test_training_is_compiled_in_a_fresh_process_and_on_a_gpu_its_memory_comes_last():
    assert [str(task) for task in program.tasks(program.parse([]))] == [
        "training, batch 8",
        "inference, batch 1",
        "inference, batch 8",
    ]
    assert [task.kind for task in program.tasks(program.parse(["--platform", "gpu"]))][-1] == "training"


@pytest.mark.parametrize(
    "wrong",
    [
        ["--repeats", "5"],
        ["--size", "100"],
        ["--batch", "0"],
        ["--against", "x"],
        ["--threads", "0"],
        ["--json", "nowhere/out.json"],
    ],
)
def test_wrong_arguments_end_with_2(wrong, capsys):
    with pytest.raises(SystemExit) as caught:
        program.parse(wrong)
    assert caught.value.code == 2
    assert wrong[0] in capsys.readouterr().err


@pytest.mark.parametrize(("against", "option"), [("smp", "--peer-python"), ("keras", "--keras-python")])
def test_without_peers_one_line_says_how_to_get_them(against, option):
    args = program.parse(["--peer-python", os.devnull])
    with pytest.raises(UserError, match=f"run `make parity`, or give {option} an environment that has {against}"):
        program.peer_worker(args, against)


def test_a_task_is_measured_in_turns():
    """Ours takes 1 ms in every turn and the peer 2; peaks are the largest."""

    def answers(seconds):
        peaks = iter(range(100, 200))
        return lambda order: {"seconds": seconds, "calls": 1, "peak_mb": next(peaks)}

    found = program.measure(
        PAIRS[0], Task("training", 8), answers(1e-3), answers(2e-3), program.parse(["--repeats", "6"])
    )
    assert found["ratio"] == {"median": 0.5, "low": 0.5, "high": 0.5}
    assert found["bar"] == 1.1
    assert found["peak_mb"] == {"ours": 106, "peer": 106}  # a round that warms up, and six


@pytest.fixture(scope="module")
def our_side(tmp_path_factory):
    """Our own worker, the smallest U-Net, and how it is told a task."""
    args = program.parse(["--size", "32"])
    with program.our_worker(args, str(tmp_path_factory.mktemp("cache"))) as ask:
        which = {"model": "plain_unet", "options": {"width": 2, "depth": 1}}
        yield ask, lambda task: program.prepare(ask, args, Task(task, 2), **which)


@pytest.mark.slow
def test_our_side_takes_turns_at_inference_and_at_training(our_side):
    ask, prepare = our_side
    for task, low, high in (("inference", 1, 1), ("training", 2, 5)):
        facts = prepare(task)
        assert facts["parameters"] == 60 + 42 + 84 + 156 + 34 + 78 + 42 + 3
        assert low <= facts["gflop"] / facts["forward_gflop"] <= high
        assert min(facts["compile_s"], facts["temp_mb"]) > 0
        for _ in range(2):  # a step donates its state, and yet can be taken again
            assert ask('{"turn": 0.0}')["calls"] == 1


@pytest.mark.slow
def test_an_option_that_a_network_has_not_is_the_users_error(our_side):
    ask, _ = our_side
    order = {"model": "unet", "options": {"depth": 1}, "task": "inference", "batch": 1, "size": 32}
    with pytest.raises(UserError, match="unknown option 'depth' of model 'unet'"):
        ask(json.dumps({"prepare": order | {"platform": "cpu", "precision": "float32"}}))


def test_a_platform_that_is_not_there_is_refused():
    with pytest.raises(round_server.Refusal, match="--platform gpu: jax sees none here"):
        ours.device("gpu")
    assert ours.device("cpu") == jax.devices("cpu")[0]
