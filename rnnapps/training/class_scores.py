"""How good answers are that name a class: who was taken for whom, and the figures that follow."""

from collections.abc import Sequence

import numpy as np

UNSEEN = "never seen"  # a class that the training part does not hold
_LEAST = 1e-12  # of a probability, so that one wrong certainty does not make all figures infinite


class ClassScores:
    """Counts over windows, from which every figure follows.

    A window of a class that training never saw is wrong whatever the answer. It counts in the accuracy and in the
    precision of the class that was answered, and not in nats.

    Args:
        classes: Their names.

    Attributes:
        confusion: `(classes + 1, classes)`: windows by their class, the last row that of classes never seen, and by
            the class that was answered.
    """

    def __init__(self, classes: Sequence[str]):
        self.classes = tuple(classes)
        self.confusion = np.zeros((len(self.classes) + 1, len(self.classes)), np.int64)
        self._nats = 0.0

    def add(self, probabilities: np.ndarray, targets: np.ndarray) -> None:
        """Adds windows.

        Args:
            probabilities: `(windows, classes)`; the largest one, and of equal ones the first, is the answer.
            targets: `(windows,)`: places of the classes, NaN for one never seen.
        """
        is_seen = ~np.isnan(targets)
        rows = np.where(is_seen, targets, len(self.classes)).astype(int)
        np.add.at(self.confusion, (rows, probabilities.argmax(1)), 1)
        said = probabilities[is_seen, rows[is_seen]].astype(np.float64)
        self._nats -= float(np.log(np.maximum(said, _LEAST)).sum())

    def by_class(self) -> dict[str, dict[str, float]]:
        """Precision, recall, F1 and the number of windows of each class; 0 where nothing is to be divided."""
        hits = np.diag(self.confusion)
        there, answered = self.confusion[:-1].sum(1), self.confusion.sum(0)
        figures = {
            "precision": hits / np.maximum(answered, 1), "recall": hits / np.maximum(there, 1),
            "F1": 2 * hits / np.maximum(there + answered, 1), "windows": there,
        }  # fmt: skip
        return {name: {key: float(row[i]) for key, row in figures.items()} for i, name in enumerate(self.classes)}

    def figures(self) -> dict[str, float]:
        """All figures: `accuracy`; `macro_f1`, the mean over the classes that are there or were answered; `nats`, the
        mean cross-entropy of a window; and `windows`."""
        count, seen = self.confusion.sum(), self.confusion[:-1].sum()
        counts = self.confusion[:-1].sum(1) + self.confusion.sum(0)
        each = [figures["F1"] for figures, some in zip(self.by_class().values(), counts, strict=True) if some]
        return {
            "accuracy": float(np.diag(self.confusion).sum() / max(count, 1)),
            "macro_f1": float(np.mean(each)) if each else 0.0,
            "nats": self._nats / max(int(seen), 1),
            "windows": float(count),
        }

    def to_dict(self) -> dict[str, object]:
        """Everything, for JSON."""
        return {**self.figures(), "classes": self.by_class(), "confusion": self.confusion.tolist()}
