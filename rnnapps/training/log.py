"""The figures of a run: `metrics.jsonl`, TensorBoard events and the picture of the learning curve."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import tensorflow as tf

from rnnapps.errors import RunError
from rnnapps.files import write_whole


class Log:
    """Writes figures as JSON lines and, where TensorBoard is installed (extra `tensorboard`), as its events.

    Args:
        folder: The run's folder.
    """

    def __init__(self, folder: Path):
        self.path = folder / "metrics.jsonl"
        self._folder = folder
        self._events = importlib.util.find_spec("tensorboard") is not None
        self._writer: Any = None

    def write(self, step: int, **figures: float) -> None:
        """Appends one line, and one event for each figure."""
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **figures}) + "\n")
        if self._events:
            self._write_events(step, figures)

    def _write_events(self, step: int, figures: dict[str, float]) -> None:
        if self._writer is None:
            self._writer = tf.summary.create_file_writer(str(self._folder / "tensorboard"))
        with self._writer.as_default(step=step):
            for name, value in figures.items():
                tf.summary.scalar(name, value)

    def forget_after(self, step: int) -> None:
        """Drops the lines past a checkpoint: the run that goes on from it writes them anew."""
        lines = [json.dumps(line) for line in self.read() if line["step"] <= step]
        write_whole(self.path, lambda path: path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8"))

    def read(self) -> list[dict]:
        """All lines, without one that a killed process left unfinished."""
        if not self.path.exists():
            return []
        lines = self.path.read_text(encoding="utf-8").split("\n")
        try:
            return [json.loads(line) for line in lines[:-1]]
        except ValueError as error:
            raise RunError(f"{self.path} holds a line that is no JSON ({error}): delete the line to go on") from error

    def plot(self, path: Path, title: str, label: str = "nats per token") -> None:
        """Draws loss, validation figure and learning rate over updates, as PNG."""
        from matplotlib.figure import Figure

        lines = self.read()
        figure = Figure(figsize=(8, 5), layout="constrained")
        loss_axes = figure.add_subplot()
        losses = [(line["step"], line["loss"]) for line in lines if "loss" in line]
        checks = [
            (line["step"], value) for line in lines for key, value in line.items() if key.startswith("validation_")
        ]
        if losses:
            loss_axes.plot(*zip(*losses, strict=True), color="0.75", linewidth=1, label="training window")
            steps = [step for step, _ in losses]
            loss_axes.plot(steps, _running_mean([loss for _, loss in losses]), color="C0", label="training, smoothed")
        if checks:
            loss_axes.plot(*zip(*checks, strict=True), color="C1", marker="o", markersize=3, label="validation")
        loss_axes.set(title=title, xlabel="updates", ylabel=label)
        rates = [(line["step"], line["learning_rate"]) for line in lines if "learning_rate" in line]
        if rates:
            rate_axes = loss_axes.twinx()
            rate_axes.plot(*zip(*rates, strict=True), color="C2", linewidth=0.8, alpha=0.6)
            rate_axes.set_ylabel("learning rate", color="C2")
        if losses or checks:
            loss_axes.legend(loc="upper right")
        loss_axes.grid(alpha=0.3)
        write_whole(path, lambda file: figure.savefig(file, dpi=120))


def _running_mean(values: list[float], weight: float = 0.7) -> list[float]:
    means, mean = [], values[0]
    for value in values:
        mean = weight * mean + (1 - weight) * value
        means.append(mean)
    return means
