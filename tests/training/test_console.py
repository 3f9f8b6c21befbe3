"""What a person sees: on standard error, in plain words, whatever the text holds."""

import math
from types import SimpleNamespace

import pytest

from rnnapps.training import console as consoles
from rnnapps.training.console import Console
from rnnapps.training.metric import Nats

PLAN = SimpleNamespace(loss_scale=1, counted_per_step=100)


def state(**changes):
    values = {"step": 10, "seconds": 5.0, "smooth_loss": 2.0, "best": None, "clipped": 0}
    return SimpleNamespace(**{**values, **changes})


def test_a_line_says_where_the_run_stands(capsys, monkeypatch):
    monkeypatch.setattr(consoles, "_PLAIN_EVERY", 0.0)
    console = Console(Nats(counted="char"))
    console.update(0.01, state(step=1, seconds=2.0), PLAN, 0.1)
    capsys.readouterr()
    console.update(0.25, state(step=31, seconds=32.0, clipped=3, smooth_loss=math.log(4)), PLAN, 0.0123)
    out, err = capsys.readouterr()
    assert out == ""  # results alone go there
    for part in ("25% ", "update 31", "1.386 nats/char (2.000 bits)", "lr 0.012", "clipped 10%", "100 chars/s"):
        assert part in err
    assert "1:36 left" in err and err.count("\n") == 1  # a quarter took 32 s


def test_a_summed_loss_is_shown_for_one_token(capsys):
    console = Console(Nats(counted="byte"))
    console.update(0.5, state(smooth_loss=50.0), SimpleNamespace(loss_scale=25, counted_per_step=25), 0.1)
    assert "2.000 nats/byte" in capsys.readouterr().err


def test_lines_come_now_and_then(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(consoles.time, "monotonic", lambda: now[0])
    console = Console(Nats(counted="char"))
    for second in range(25):
        now[0] = 100.0 + second
        console.update(0.5, state(), PLAN, 0.1)
    assert capsys.readouterr().err.count("\n") == 3  # at 0, 10 and 20 seconds


@pytest.mark.parametrize("text", ["[bold]x[/bold] [/] [red", "a\nb", "caf\u00e9 \u4e2d"])
def test_a_sample_is_shown_as_it_is(capsys, text):
    Console(Nats(counted="char")).sample(500, text)
    assert capsys.readouterr().err == f"--- written after 500 updates ---\n{text}\n---\n"


def test_validation_is_shown_and_stays_in_the_line(capsys, monkeypatch):
    monkeypatch.setattr(consoles, "_PLAIN_EVERY", 0.0)
    console = Console(Nats(counted="word"))
    console.validated(state(seconds=3671.0, best=math.log(2)), math.log(2), True)
    err = capsys.readouterr().err
    assert "1:01:11: validation 0.6931 nats/word (1.0000 bits), best so far, saved" in err
    console.validated(state(best=0.5), 0.6, False)
    assert "validation 0.6000" in (err := capsys.readouterr().err) and "best 0.5000" in err
    console.update(0.5, state(), PLAN, 0.1)
    assert "validation 0.600" in capsys.readouterr().err


def test_a_long_line_is_not_broken(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    console = Console(Nats(counted="char"))
    console.say("x " * 60 + "[/oops]")
    assert capsys.readouterr().err.count("\n") == 1


def test_a_terminal_gets_one_moving_line(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    console = Console(Nats(counted="char"))
    for step in (1, 2, 3):
        console.update(step / 4, state(step=step, seconds=float(step)), PLAN, 0.1)
    console.close()
    console.close()  # an error may close it twice
    err = capsys.readouterr().err
    assert "update 3" in err and "75%" in err
    assert "\x1b[" in err
