"""Classes as the goal of a run: loss, report, what is served, what is printed."""

import json
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pandas as pd

from rnnapps.data.labels import LabelIndex, check_classes, labelled_windows, last_windows, scales
from rnnapps.data.panel import Layout, Panel
from rnnapps.errors import UsageError
from rnnapps.forecasting.build import learnt
from rnnapps.forecasting.config import Config, Evaluate
from rnnapps.forecasting.sizes import sizes_of
from rnnapps.models.sequence_classifier import sequence_classifier
from rnnapps.models.series_parts import Shape
from rnnapps.serving.class_endpoints import ClassEndpoints
from rnnapps.training.class_evaluation import classifier, compare, cross_entropy, verdict
from rnnapps.training.class_scores import UNSEEN, ClassScores
from rnnapps.training.metric import Metric, Nats
from rnnapps.training.run import Run
from rnnapps.training.series_evaluation import OURS

_JUDGED_WINDOWS = 50_000  # at most, after training; `evaluate` scores all
_WIDEST = 20  # classes of a confusion matrix that a person reads


class Classification:
    """The class of the row that a window ends with.

    Raises:
        UsageError: The training part has fewer than two classes, or too many.
    """

    def __init__(self, config: Config, panel: Panel):
        check_classes(panel)
        self.config, self.panel = config, panel
        self._history, _ = sizes_of(config)
        self.metric: Metric = Nats(counted="window", label="nats per window")
        self.classes = (panel.layout.categories or {})[panel.layout.targets[0]]

    def count(self, part: str) -> int:
        return len(LabelIndex(self.panel, part, self._history, self._every(part)))

    def windows(self, part: str, batch_size: int, **order: Any) -> Any:
        order = {"every": self._every(part), **order}
        return labelled_windows(self.panel, part, self._history, batch_size, **order)

    def _every(self, part: str) -> int:
        return self.config.stride if part == "train" else 1

    def network(self, dtype: str = "float32") -> keras.Model:
        config, layout = self.config, self.panel.layout
        sizes = {
            kind: tuple(len((layout.categories or {}).get(name, ())) for name in getattr(layout, kind))
            for kind in ("past", "static")
        }
        segment = config.segment if config.kind == "segment" else 1
        found = {name: getattr(config, name) for name in ("cell", "units", "layers", "dropout", "linear", "seed")}
        shape = Shape(self._history, horizon=0, targets=0, past=sizes["past"], static=sizes["static"])
        network = sequence_classifier(shape, len(self.classes), segment=segment, dtype=dtype, **found)
        for kind, (center, scale) in scales(self.panel).items():
            places = [j for j, size in enumerate(sizes[kind]) if not size]
            if places:
                network.get_layer(f"{kind}_numbers").set_tables(center[None, places], scale[None, places])
        return network

    def start(self, network: keras.Model) -> None:
        pass  # random weights are all there is

    def loss(self, network: keras.Model, inputs: Any, targets: Any, training: bool = False) -> Any:
        return cross_entropy(network, inputs, targets, training)

    def complete(self, run: Run, model: keras.Model) -> list[str]:
        return []  # the model is complete

    def judged(self, run: Run, model: keras.Model) -> tuple[dict[str, Any], str]:
        found = self._compare(model, "test", max(1, self.count("test") // _JUDGED_WINDOWS))
        return found[OURS].figures(), verdict(found)

    def _compare(self, model: keras.Model, part: str, every: int = 1) -> dict[str, ClassScores]:
        return compare(classifier(model), self.panel, part, self._history, every, self.config.stride)

    def evaluate(self, run: Run, options: Evaluate) -> dict[str, Any]:
        for name in ("by_step", "by_target"):
            if getattr(options, name):
                option = "--" + name.replace("_", "-")
                raise UsageError(f"{option} with {run.folder}, which learnt classes: wanted a run that forecasts")
        if not getattr(self.config, f"{options.split}_fraction"):
            raise UsageError(f"--split {options.split}: the run {run.folder} holds nothing out for it")
        found = self._compare(run.load_model(), options.split, options.every)
        rows: dict[str, Any] = {name: scores.to_dict() for name, scores in found.items()}
        if options.json:
            print(json.dumps(rows))
            return rows
        print(_table({name: scores.figures() for name, scores in found.items()}))
        print("\n" + _table(found[OURS].by_class()))
        if len(self.classes) <= _WIDEST:
            print("\n" + _confusion(found[OURS]))
        print(f"\n{learnt(self.config)}, {options.split}: {verdict(found)}")
        return rows

    def endpoints(self, run: Run, xla: bool = False) -> ClassEndpoints:
        return ClassEndpoints(run.load_model(), self.classes, xla)

    def manifest(self) -> dict[str, Any]:
        return {"classes": list(self.classes)}


def class_table(
    panel: Panel, learnt: Layout, history: int, ask: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]
) -> pd.DataFrame:
    """A row for each series: the time of the last row of its last window, the class, and each class's probability.

    Args:
        panel, learnt, history: As in `rnnapps.data.labels.last_windows`.
        ask: `serving_default` of a classifier.
    """
    inputs, last = last_windows(panel, learnt, history)
    found = ask(inputs)
    table = pd.DataFrame({"series": [one.name for one in panel.series]})
    steps = [np.array([row - one.start]) for row, one in zip(last.tolist(), panel.series, strict=True)]
    table["time"] = [panel.written(panel.stamps(i, step))[0] for i, step in enumerate(steps)]
    table["class"] = [name.decode() for name in found["class"]]
    for name, column in zip((learnt.categories or {})[learnt.targets[0]], found["probabilities"].T, strict=True):
        table[f"p_{name}"] = column
    return table


def _table(rows: dict[str, dict[str, float]]) -> str:
    names, width = list(next(iter(rows.values()))), max(map(len, rows)) + 2
    lines = [f"{'':{width}}" + "".join(f"{name:>11}" for name in names)]
    for name, figures in rows.items():
        cells = (f"{value:11,.0f}" if key == "windows" else f"{value:11.4f}" for key, value in figures.items())
        lines.append(f"{name:{width}}" + "".join(cells))
    return "\n".join(lines)


def _confusion(scores: ClassScores) -> str:
    """Windows by their class, a line each, and by the class that was answered."""
    names = [*scores.classes, UNSEEN]
    width, wide = max(map(len, names)) + 2, max(map(len, [*scores.classes, "9,999,999"])) + 2
    lines = [f"{'':{width}}" + "".join(f"{name:>{wide}}" for name in scores.classes) + "  answered"]
    for name, row in zip(names, scores.confusion, strict=True):
        if name != UNSEEN or row.any():
            lines.append(f"{name:{width}}" + "".join(f"{count:{wide},}" for count in row))
    return "\n".join(lines)
