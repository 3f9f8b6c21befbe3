"""Small runs of text generation, which the tests of several folders share, and what makes training them cheap."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from kept import Kept

from rnnapps.ops import time_loop
from rnnapps.text_generation import task
from rnnapps.text_generation.config import PRESETS, Config, Export, replace
from rnnapps.text_generation.task import export, train
from rnnapps.training.log import Log

TEXT = "".join(f"{n} times {n + 1} is {n * (n + 1)}, n\u00e9?\n" for n in range(300))
# Other options than those of the run that most tests ask.
OTHER = {
    "tokens": "word", "max_vocabulary": 60, "cell": "simple_rnn", "units": 8, "embedding": 8, "tied": True,
    "precision": "mixed_bfloat16", "dropout": 0.1, "optimizer": "adamw", "weight_decay": 0.01, "clip": "norm",
    "steps": 4, "batch_size": 8, "epochs": 1.9, "seed": 1,
}  # fmt: skip


def tiny(folder: Path, **changes) -> Config:
    """Options of a run of about two seconds in `folder/run`, on the text in `folder/sums.txt`."""
    path = folder / "sums.txt"
    if not path.exists():
        path.write_text(TEXT, encoding="utf-8")
    options = {"text": (path,), "run": folder / "run", "minutes": None, "epochs": 1, "sample_every": 0}
    return replace(PRESETS["tiny"], **{**options, "validate_every": 1e9, **changes})


def run_of(kept: Kept) -> Path:
    """A run of two LSTM layers, beside its text `sums.txt`."""
    return _kept(kept, "run", lambda new: train(tiny(new, epochs=4, layers=2, seed=3))) / "run"


def export_of(kept: Kept) -> Path:
    """Its export, `.../sums/1`."""
    options = Export(run=run_of(kept))
    return _kept(kept, "export", lambda new: export(replace(options, output=new))) / "sums" / "1"


def other_run_of(kept: Kept) -> Path:
    """A run with other options, beside its text."""
    return _kept(kept, "other-run", lambda new: train(tiny(new, **OTHER))) / "run"


def other_export_of(kept: Kept) -> Path:
    """Its export: `.../sums/2`, since the number 1 was taken; beside `printed.txt`, which holds what was said."""
    options = Export(run=other_run_of(kept))

    def make(new: Path) -> None:
        (new / "sums" / "1").mkdir(parents=True)
        with (new / "printed.txt").open("w", encoding="utf-8") as file, redirect_stdout(file), redirect_stderr(file):
            export(replace(options, output=new))

    return _kept(kept, "other-export", make) / "sums" / "2"


# What fixtures of modules change, and what is kept must not depend on.
_PLAIN = (
    (task, "Evaluator", task.Evaluator), (task, "Sampler", task.Sampler), (Log, "plot", Log.plot),
    (time_loop, "_STEPS_PER_TURN", time_loop._STEPS_PER_TURN),
)  # fmt: skip


def _kept(kept: Kept, name: str, make: Callable[[Path], object]) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        for place in _PLAIN:
            patch.setattr(*place)
        return kept.folder(f"text_generation-{name}", make)


@pytest.fixture(scope="module")
def cheap_verbs():
    """Verbs that wait for no XLA, and learning curves that are not drawn."""
    sampler = functools.partial(task.Sampler, jit_compile=False)
    sampler.generate = task.Sampler.generate
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(task, "Sampler", sampler)
        patch.setattr(task, "Evaluator", functools.partial(task.Evaluator, jit_compile=False))
        patch.setattr(Log, "plot", lambda self, path, *_: path.touch())
        yield
