"""The folder of a run."""

import contextlib
import functools
import json
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Collection, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np

import rnnapps
from rnnapps import config as configs
from rnnapps.data.corpus import Corpus
from rnnapps.data.service import served
from rnnapps.data.share import Share
from rnnapps.errors import RunError, UsageError
from rnnapps.files import write_whole
from rnnapps.training.lock import SCRATCH, is_passing
from rnnapps.training.loop import Loop

# Options of every task that say nothing on another machine.
_LOCAL = ("run", "resume", "overwrite", "source", "data_dir")


class Run:
    """Paths of a run, and what they hold.

        config.json         the options
        corpus/             the text as token ids, with its vocabulary; of series: panel/
        checkpoints/        last.npz: everything that --resume needs
        model.keras         the best model so far, in float32
        metrics.jsonl       figures over time; tensorboard/ holds the same as events
        figures.json        figures at the end: validation, test, training time
        data_service/       an epoch's batches, where a tf.data service sends them
        calibration.npy     of forecasts: how far the quantiles of the best model are moved
        learning_curve.png

    Args:
        folder: The run's folder; it need not be there yet.
        data: Name of the folder in it that holds what is learnt: `corpus`, or `panel` for series.
    """

    def __init__(self, folder: Path, data: str = "corpus"):
        self.folder = folder
        self.checkpoints = folder / "checkpoints"
        self.model_path = folder / "model.keras"
        self.data_path = folder / data

    @contextlib.contextmanager
    def new_folder(self, overwrite: bool) -> Iterator[Path]:
        """Gives an empty scratch folder to prepare a run in; it is gone at the end, and the run's folder if unused.

        Raises:
            UsageError: Another run, or something else, is in the run's folder.
            RunError: The folder cannot be made.
        """
        self._check_free(overwrite)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            scratch = Path(tempfile.mkdtemp(prefix=SCRATCH, dir=self.folder))
        except OSError as error:
            raise RunError(f"--run {self.folder} cannot be written ({error.strerror})") from error
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
            if not any(self.folder.iterdir()):
                self.folder.rmdir()

    def _check_free(self, overwrite: bool) -> None:
        if (self.folder / "config.json").exists():
            if not overwrite:
                raise UsageError(
                    f"--run {self.folder} holds a run already: wanted --resume to go on with it, --overwrite to begin "
                    "anew, or another folder"
                )
        elif self.folder.exists() and not (self.folder.is_dir() and all(map(is_passing, self.folder.iterdir()))):
            raise UsageError(f"--run {self.folder} holds something that is no run: wanted a new or an empty folder")

    def begin(self, config: Any, data: Path) -> None:
        """Begins a run in the place of any that was there: the options, and what is learnt in the folder `data`.

        Raises:
            RunError: The folder cannot be written.
        """
        # Only what a run writes, by name: a slip of the pen in --run must not empty somebody's folder.
        for folder in (self.checkpoints, self.data_path, self.folder / "tensorboard", self.folder / "data_service"):
            shutil.rmtree(folder, ignore_errors=True)
        for name in ("model.keras", "metrics.jsonl", "figures.json", "learning_curve.png", "calibration.npy"):
            (self.folder / name).unlink(missing_ok=True)
        data.rename(self.data_path)
        self.save_config(config)

    def carry_out(
        self, loop: Loop, config: Any, batches: Callable[[int, Share], Any], title: str, figure: str = "validation"
    ) -> None:
        """Trains, with --resume from the last checkpoint on; draws the learning curve and writes what is known.

        Args:
            loop: What trains.
            config: Of the run.
            batches: From a number of updates, and a share of the rows, to the batches that follow.
            title: Of the learning curve.
            figure: Name of the best validation figure.

        Raises:
            RunError: There is no checkpoint to go on from, or the loss exploded.
        """
        if config.resume:
            loop.resume()
            if loop.distribution.is_chief:
                self.save_config(configs.replace(config, resume=False))  # only now: a refused --resume changes nothing
            loop.console.say(f"resuming {self.folder} after {loop.state.step} updates")
        source = functools.partial(batches, loop.state.step)
        if config.data_service is not None:
            source = functools.partial(self._served, config.data_service, batches, loop)
        state = loop.run(loop.distribution.spread(source))
        if not loop.distribution.is_chief:
            return
        loop.log.plot(self.folder / "learning_curve.png", title, loop.console.metric.label)
        self.save_figures(training_seconds=round(state.seconds, 1), updates=state.step, **{figure: state.best})

    def _served(self, address: str, batches: Callable[[int, Share], Any], loop: Loop, share: Share) -> Any:
        folder = self.folder / "data_service" / f"{share.number}_of_{share.of}"
        return served(address, folder, functools.partial(batches, 0, share), loop.plan.per_epoch, loop.state.step)

    def stop_if_interrupted(self, loop: Loop) -> None:
        """Ends with KeyboardInterrupt what was trained until Ctrl-C; it is saved."""
        if loop.interrupted:
            loop.console.say(f"saved in {self.folder}; go on with --resume --run {self.folder}")
            raise KeyboardInterrupt

    def save_config(self, config: Any) -> None:
        """Writes `config.json`, whole or not at all."""
        configs.save(config, self.folder / "config.json")

    def load_config(self, cls: type) -> Any:
        """The options that the run began with.

        Raises:
            UsageError: The folder is no run.
        """
        return configs.load(cls, self.folder / "config.json")

    def manifest(self, task: str, config: Any, local: Collection[str] = ()) -> dict[str, Any]:
        """What the manifest of an export says of any run.

        Args:
            task: The task's name.
            config: The run's options.
            local: Names of options, beside those of every task, that say nothing on another machine.
        """
        left_out = {*_LOCAL, *configs.MACHINE, *local}
        versions = {"tensorflow": version("tensorflow"), "keras": keras.__version__}
        return {
            "task": task,
            "config": {name: value for name, value in configs.to_dict(config).items() if name not in left_out},
            "seed": config.seed,
            "figures": self.load_figures(),
            "versions": {"rnnapps": rnnapps.__version__, **versions},
        }

    def check_resumable(self, config: Any, fixed: Sequence[str]) -> None:
        """Raises UsageError where a config to go on with differs from the run's in one of the options `fixed`."""
        before = self.load_config(type(config))
        for name in fixed:
            ours, theirs = getattr(config, name), getattr(before, name)
            if ours != theirs:
                raise UsageError(f"{configs.option(name)} {_shown(ours)}: the run to resume has {_shown(theirs)}")

    def load_corpus(self) -> Corpus:
        """The run's text.

        Raises:
            RunError: It is missing or damaged.
        """
        return Corpus.open(self.data_path)

    def save_model(self, model: keras.Model) -> None:
        """Writes `model.keras`, whole or not at all; what was measured of the model before it is gone."""
        write_whole(self.model_path, lambda path: model.save(path))
        (self.folder / "calibration.npy").unlink(missing_ok=True)

    def load_model(self) -> keras.Model:
        """Reads `model.keras`.

        Raises:
            RunError: The run has not saved a model yet, or the file is damaged.
        """
        import rnnapps.layers  # noqa: F401  # registers the classes that the file names

        if not self.model_path.is_file():
            raise RunError(f"{self.folder} holds no model yet: wanted a run that has saved one, see its train command")
        try:
            return keras.saving.load_model(self.model_path, safe_mode=True, compile=False)
        except Exception as error:  # Keras raises whatever the zip, JSON or HDF5 reader does
            # It calls a file that is no zip "not found".
            whole = zipfile.is_zipfile(self.model_path)
            reason = next(iter(str(error).splitlines()), type(error).__name__) if whole else "the file is damaged"
            raise RunError(f"{self.model_path} is no readable model ({reason})") from error

    def save_array(self, name: str, array: np.ndarray) -> None:
        """Writes `NAME.npy`, whole or not at all."""

        def write(path: Path) -> None:
            with path.open("wb") as file:  # given a path, NumPy would add its own suffix
                np.save(file, array, allow_pickle=False)

        write_whole(self.folder / f"{name}.npy", write)

    def load_array(self, name: str) -> np.ndarray | None:
        """Reads what `save_array` wrote; None where there is nothing.

        Raises:
            RunError: The file is damaged.
        """
        path = self.folder / f"{name}.npy"
        try:
            return np.load(path, allow_pickle=False) if path.exists() else None
        except (ValueError, OSError, EOFError) as error:
            raise RunError(f"{path} is no readable array ({error}): delete it to go on without it") from error

    def save_figures(self, **figures: Any) -> None:
        """Adds measured figures to `figures.json`; an export writes them into its manifest."""
        content = json.dumps({**self.load_figures(), **figures}, indent=2) + "\n"
        write_whole(self.folder / "figures.json", lambda path: path.write_text(content, encoding="utf-8"))

    def load_figures(self) -> dict[str, Any]:
        """The figures measured so far; none is no error."""
        path = self.folder / "figures.json"
        try:
            return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        except ValueError as error:
            raise RunError(f"{path} is not readable as JSON ({error}): delete it to go on without it") from error


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
