import io
import json
import os
import pty
import re
import subprocess
import sys
import threading

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

from fetal_jax.core.types import UserError
from fetal_jax.training.metric_writer import METRICS_FILE, Progress, RunWriter, read_metrics


def lines(workdir):
    return [json.loads(row) for row in (workdir / METRICS_FILE).read_text().splitlines()]


def events(workdir):
    """Every TensorBoard event in `workdir`. A record is: length (8 bytes), crc (4), payload, crc (4)."""
    found = []
    for path in sorted(workdir.glob("events.*")):
        data = path.read_bytes()
        while data:
            size = int.from_bytes(data[:8], "little")
            found.append(Event.FromString(data[12 : 12 + size]))
            data = data[16 + size :]
    return found


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Clock:
    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return self.seconds


def test_a_line_keeps_its_order_and_its_numbers(tmp_path):
    with RunWriter(tmp_path / "new" / "run") as writer:
        writer.scalars(12, "train", {"loss": np.float32(0.5), "rate": 1e-3}, stage="fine_tune", epoch=3)
    text = (tmp_path / "new" / "run" / METRICS_FILE).read_text()
    assert text == '{"kind": "train", "step": 12, "stage": "fine_tune", "epoch": 3, "loss": 0.5, "rate": 0.001}\n'


def test_labels_may_be_numpy_scalars(tmp_path):
    with RunWriter(tmp_path) as writer:
        writer.scalars(np.int64(1), "train", {}, epoch=np.int32(7))
    assert lines(tmp_path) == [{"kind": "train", "step": 1, "epoch": 7}]


def test_numbers_that_json_lacks_become_null(tmp_path):
    with RunWriter(tmp_path) as writer:
        writer.scalars(1, "train", {"loss": float("nan"), "scale": float("inf"), "rate": 2.0})
    assert lines(tmp_path) == [{"kind": "train", "step": 1, "loss": None, "scale": None, "rate": 2.0}]
    assert "NaN" not in (tmp_path / METRICS_FILE).read_text()


def test_a_line_is_on_disk_before_the_run_ends(tmp_path):
    writer = RunWriter(tmp_path)
    writer.scalars(1, "train", {"loss": 1.0})
    assert len(lines(tmp_path)) == 1
    writer.close()


def test_tensorboard_holds_the_finite_scalars(tmp_path):
    with RunWriter(tmp_path) as writer:
        writer.scalars(3, "validation", {"dice": 0.75, "jaccard": float("nan")}, stage="decoder")
    values = [
        (event.step, value.tag, value.simple_value) for event in events(tmp_path) for value in event.summary.value
    ]
    assert values == [(3, "validation/dice", 0.75)]


def run(workdir, steps, resume_step=0):
    with RunWriter(workdir, resume_step=resume_step) as writer:
        for step in steps:
            writer.scalars(step, "train", {"loss": 1 / step}, stage="decoder", epoch=step)
            if step % 2 == 0:
                writer.scalars(step, "validation", {"dice": step / 10}, stage="decoder", epoch=step)


def test_a_killed_run_leaves_the_lines_of_an_undisturbed_one(tmp_path):
    run(tmp_path / "undisturbed", range(1, 9))
    run(tmp_path / "killed", range(1, 7))  # the checkpoint is of step 4
    run(tmp_path / "killed", range(5, 9), resume_step=4)
    assert lines(tmp_path / "killed") == lines(tmp_path / "undisturbed")


def test_what_is_written_again_at_the_very_step_of_the_checkpoint_is_written_once(tmp_path):
    with RunWriter(tmp_path) as writer:
        writer.scalars(4, "stage", {"seconds": 0.0}, stage="label", event="begin")
    with RunWriter(tmp_path, resume_step=4) as writer:
        writer.scalars(4, "stage", {"seconds": 0.1}, stage="label", event="begin")
        writer.scalars(4, "stage", {"seconds": 9.0}, stage="label", event="end")
        writer.scalars(4, "stage", {"seconds": 0.0}, stage="retrain", event="begin")
    assert [(line["stage"], line["event"], line["seconds"]) for line in lines(tmp_path)] == [
        ("label", "begin", 0.0),
        ("label", "end", 9.0),
        ("retrain", "begin", 0.0),
    ]


def test_a_fresh_start_drops_an_older_record(tmp_path):
    run(tmp_path, range(1, 4))
    run(tmp_path, range(1, 2))
    assert [line["step"] for line in lines(tmp_path)] == [1]


def test_tensorboard_is_told_what_to_forget(tmp_path):
    run(tmp_path, range(1, 4))
    run(tmp_path, range(3, 4), resume_step=2)
    starts = [event.step for event in events(tmp_path) if event.HasField("session_log")]
    assert sorted(starts) == [1, 3]


def test_a_torn_last_line_is_dropped(tmp_path):
    run(tmp_path, range(1, 3))
    with (tmp_path / METRICS_FILE).open("a") as file:
        file.write('{"kind": "train", "st')
    run(tmp_path, range(3, 4), resume_step=2)
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 2, 3]


def test_a_broken_line_in_the_middle_is_the_users_to_repair(tmp_path):
    (tmp_path / METRICS_FILE).write_text('{"kind": "train", "step": 1}\nscribble\n{"kind": "train", "step": 2}\n')
    with pytest.raises(UserError, match=r"metrics\.jsonl: line 2 is not a JSON record with kind and step: repair"):
        RunWriter(tmp_path, resume_step=2)
    assert "scribble" in (tmp_path / METRICS_FILE).read_text()


@pytest.mark.parametrize("row", ["", "12", "[]", "null", '{"kind": "train"}', '{"kind": "train", "st'])
def test_a_whole_line_that_is_no_record_is_refused_also_at_the_end(tmp_path, row):
    (tmp_path / METRICS_FILE).write_text(f'{{"kind": "train", "step": 1}}\n{row}\n')
    with pytest.raises(UserError, match=r"metrics\.jsonl: line 2 is not a JSON record"):
        read_metrics(tmp_path)


def test_metrics_are_read_without_a_torn_last_line(tmp_path):
    (tmp_path / METRICS_FILE).write_bytes(b'{"kind": "train", "step": 1, "loss": null}\n{"kind": "tr\xff')
    assert read_metrics(tmp_path) == [{"kind": "train", "step": 1, "loss": None}]


def test_a_workdir_without_metrics_has_none(tmp_path):
    assert read_metrics(tmp_path) == []


def test_importing_the_writers_imports_neither_jax_nor_tensorboard():
    code = "import sys, fetal_jax.training.metric_writer; print(sorted({'jax', 'tensorboardX'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


@pytest.fixture
def clock(monkeypatch):
    """The seconds that tqdm sees."""
    clock = Clock()
    monkeypatch.setattr("tqdm.std.time", clock)
    return clock


@pytest.fixture
def columns(monkeypatch):
    """Sets the width of the terminal."""

    def set_to(number):
        monkeypatch.setenv("COLUMNS", str(number + 1))  # the last one stays free

    set_to(100)
    return set_to


def drawn(stream):
    """What the bar showed, one state after the other."""
    return [part.rstrip(" ") for part in stream.getvalue().split("\r")[1:]]


def test_the_bar_shows_stage_share_values_and_time_left(columns, clock):
    stream = Terminal()
    progress = Progress(100, stream=stream)
    progress.update(0, stage="fine_tune 3/12")
    clock.seconds = 100.0
    progress.update(50, stage="fine_tune 3/12", loss=0.3123, dice=0.82, images_per_second=1.94)
    stage, facts = "fine_tune 3/12 ", " 50 %  50/100, loss 0.312, dice 0.82, 1.9 img/s, 01:40 left"
    # 50 steps in 100 s: the other 50 take 100 s more.
    cells = 100 - len(stage) - len(facts)
    assert drawn(stream)[-1].startswith(stage + "#" * (cells // 2))
    assert drawn(stream)[-1].endswith(facts)
    assert len(drawn(stream)[-1]) == 100


def test_a_terminal_that_knows_unicode_gets_a_bar_of_blocks(columns, clock):
    class Utf8Terminal(Terminal):
        encoding = "utf-8"

    stream = Utf8Terminal()
    Progress(2, stream=stream).update(1)
    assert "█" in stream.getvalue()


@pytest.mark.parametrize("width", [20, 40, 60, 80])
def test_the_bar_never_wraps(columns, clock, width):
    columns(width)
    stream = Terminal()
    progress = Progress(10, stream=stream)
    for done in range(11):
        clock.seconds += 1
        progress.update(done, stage="fine_tune 3/12", loss=0.25, dice=0.5, images_per_second=20.0)
    assert len(drawn(stream)) == 11
    assert max(map(len, drawn(stream))) <= width
    assert "\n" not in stream.getvalue()


def test_time_left_forgets_a_slow_start_and_an_earlier_run(columns, clock):
    stream = Terminal()
    progress = Progress(1000, stream=stream)
    progress.update(500)  # resumed here: 500 steps in no time say nothing
    clock.seconds = 60
    progress.update(501)  # the first step compiles
    for done in range(502, 801):
        clock.seconds += 1
        progress.update(done)
    assert drawn(stream)[-1].endswith(" 80 %  800/1000, 03:20 left")


def test_time_left_is_told_in_hours(columns, clock):
    stream = Terminal()
    progress = Progress(3700, stream=stream)
    progress.update(0)
    clock.seconds = 10
    progress.update(10)
    assert "1:01:30 left" in stream.getvalue()


def test_the_bar_is_redrawn_at_most_ten_times_a_second(columns, clock):
    stream = Terminal()
    progress = Progress(1000, stream=stream)
    for done in range(1, 1001):
        clock.seconds = done / 1000  # one second in all
        progress.update(done)
    assert 10 <= stream.getvalue().count("\r") <= 12


def test_close_shows_the_last_update_and_ends_the_line(columns, clock):
    stream = Terminal()
    progress = Progress(10, stream=stream)
    progress.update(1, loss=2.0)
    progress.update(2, loss=1.0)
    progress.close()
    assert "2/10, loss 1, " in drawn(stream)[-1]
    assert stream.getvalue().endswith("left\n")


def test_a_message_stands_above_the_bar(columns, clock):
    stream = Terminal()
    progress = Progress(10, stream=stream)
    progress.update(5, stage="decoder")
    bar = stream.getvalue()
    progress.message("kept 3 of 4")
    printed = stream.getvalue().removeprefix(bar)
    assert re.fullmatch(r"\r +\rkept 3 of 4\n" + re.escape(bar), printed)  # the old bar is wiped, then drawn again


def test_a_terminal_of_unknown_size_gets_a_bar():
    code = """
import os
from fetal_jax.training.metric_writer import Progress
assert os.get_terminal_size(2).columns == 0
progress = Progress(2)
for done in range(3):
    progress.update(done, stage="decoder")
progress.message("validation dice 0.5")
progress.close()
"""
    master, slave = pty.openpty()  # of 0 columns
    environment = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
    with open(master, "rb", closefd=True) as screen:
        subprocess.run([sys.executable, "-c", code], stderr=slave, stdout=slave, env=environment, check=True)
        os.set_blocking(master, False)
        printed = screen.read1().decode()
    os.close(slave)
    assert "\rdecoder " in printed
    assert "0/2, ? left" in printed
    assert "\rvalidation dice 0.5\r\n" in printed
    assert printed.endswith("2/2, 00:00 left\r\n")


def test_a_message_before_the_first_update_is_a_line(clock):
    for stream in (Terminal(), io.StringIO()):
        Progress(10, stream=stream).message("DECODER → DONE")
        assert stream.getvalue() == "DECODER → DONE\n"


def test_a_log_file_gets_few_plain_lines(clock):
    stream = io.StringIO()
    progress = Progress(1000, stream=stream)
    for done in range(1, 1001):
        clock.seconds = done / 100  # ten seconds in all: a line each 10 %
        progress.update(done, stage="decoder", loss=0.5)
    progress.message("done")
    progress.close()
    printed = stream.getvalue().splitlines()
    assert printed[0] == "decoder step 1/1000, 0 %, loss 0.5, ? left"
    assert printed[5] == "decoder step 501/1000, 50 %, loss 0.5, 00:04 left"
    assert [row.split(",")[0] for row in printed[:-1]] == [
        f"decoder step {n}/1000" for n in [*range(1, 1000, 100), 1000]
    ]
    assert printed[-1] == "done"
    assert "\r" not in stream.getvalue()


def test_a_slow_run_tells_the_log_every_ten_seconds(clock):
    stream = io.StringIO()
    progress = Progress(1000, stream=stream)
    for done in range(31):
        clock.seconds = float(done)
        progress.update(done)
    assert [row.split(",")[0] for row in stream.getvalue().splitlines()] == [f"step {n}/1000" for n in (0, 10, 20, 30)]


def test_close_tells_the_log_the_last_state(clock):
    stream = io.StringIO()
    progress = Progress(100, stream=stream)
    progress.update(1)
    progress.update(2)
    progress.close()
    assert [row.split(",")[0] for row in stream.getvalue().splitlines()] == ["step 1/100", "step 2/100"]


def test_a_pipe_gets_lines():
    code = """
from fetal_jax.training.metric_writer import Progress
progress = Progress(20)
for done in range(1, 21):
    progress.update(done, stage="decoder", loss=1 / done)
progress.message("validation dice 0.9")
progress.close()
"""
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stderr
    assert "\r" not in printed
    assert printed.splitlines()[0].startswith("decoder step 1/20, 5 %, loss 1, ")
    assert "decoder step 20/20, 100 %, loss 0.05, 00:00 left\nvalidation dice 0.9\n" in printed
    assert len(printed.splitlines()) <= 13


def test_time_left_survives_a_count_that_starts_again(columns, clock):
    stream = Terminal()
    progress = Progress(100, stream=stream)
    for done in (0, 10, 0, 10):
        clock.seconds += 10
        progress.update(done)
    assert "01:30 left" in drawn(stream)[-1]  # 1 step a second, 90 to go


def test_no_thread_is_left_running(columns):
    before = threading.active_count()
    progress = Progress(10, stream=Terminal())
    progress.update(1)
    assert threading.active_count() == before
    progress.close()
