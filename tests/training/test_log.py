"""The figures of a run on disk, and their picture."""

import json

import numpy as np
import pytest

from rnnapps.errors import RunError
from rnnapps.training.log import Log


def test_lines_are_json_and_are_kept_by_the_next_log(tmp_path):
    Log(tmp_path).write(50, loss=1.25, clipped=3)
    Log(tmp_path).write(60, validation_nats=2.0)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == Log(tmp_path).read()
    assert Log(tmp_path).read() == [{"step": 50, "loss": 1.25, "clipped": 3}, {"step": 60, "validation_nats": 2.0}]
    assert Log(tmp_path / "new").read() == []


def test_lines_past_a_checkpoint_and_unfinished_ones_are_dropped(tmp_path):
    log = Log(tmp_path)
    for step in (50, 100, 150):
        log.write(step, loss=1.0)
    with log.path.open("a") as file:
        file.write('{"step": 200, "lo')  # killed here
    assert [line["step"] for line in log.read()] == [50, 100, 150]
    log.forget_after(100)
    log.write(150, loss=0.5)
    assert log.read() == [{"step": 50, "loss": 1.0}, {"step": 100, "loss": 1.0}, {"step": 150, "loss": 0.5}]
    assert [path.name for path in tmp_path.glob("*") if path.is_file()] == ["metrics.jsonl"]


def pixels(path):
    from matplotlib.image import imread

    return imread(path)


def test_the_picture_shows_loss_and_validation(tmp_path):
    log = Log(tmp_path)
    for step in range(0, 500, 50):
        log.write(step, loss=3 - step / 250, learning_rate=0.01)
    log.plot(tmp_path / "loss.png", "made up")
    log.write(450, validation_nats=2.0)
    log.write(500, validation_nats=1.5)
    log.plot(tmp_path / "both.png", "made up")
    first, second = pixels(tmp_path / "loss.png"), pixels(tmp_path / "both.png")
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert first.shape == second.shape and first.std() > 0.02
    orange = np.array([0xFF, 0x7F, 0x0E]) / 255  # matplotlib's second colour, that of the validation

    def has_orange(image):
        return (np.abs(image[:, :, :3] - orange).max(axis=2) < 0.02).any()

    assert has_orange(second) and not has_orange(first)


def test_a_picture_of_a_run_too_short_for_a_line(tmp_path):
    Log(tmp_path).write(3, validation_nats=2.0)
    Log(tmp_path).plot(tmp_path / "one.png", "one point")
    assert pixels(tmp_path / "one.png").std() > 0.01


def test_a_picture_that_cannot_be_written_is_one_sentence(tmp_path):
    Log(tmp_path).write(3, validation_nats=2.0)
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="could not be saved"):
        Log(tmp_path).plot(tmp_path / "file" / "curve.png", "nowhere")
