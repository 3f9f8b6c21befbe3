"""Classes of windows: the loss, and the answers of a network beside those that it has to beat."""

from collections.abc import Callable, Iterable

import keras
import numpy as np
import tensorflow as tf

from rnnapps.data.labels import LabelIndex, labelled_windows, scales
from rnnapps.data.panel import Panel
from rnnapps.training.class_scores import ClassScores
from rnnapps.training.series_evaluation import OURS

_BATCH = 256
_UPDATES = 1_000  # of the logistic regression: more change nothing that shows
_RIDGE = 1e-4
MAJORITY, LOGISTIC = "majority class", "logistic regression"
Inputs = dict[str, np.ndarray]
Classifier = Callable[[Inputs], np.ndarray]


def cross_entropy(network: keras.Model, inputs, targets, training: bool = False):
    """The mean loss in nats of the windows whose class training saw; 0 where there are none.

    Args:
        network: As `rnnapps.models.sequence_classifier` builds it.
        inputs, targets: As `rnnapps.data.labels.labelled_windows` gives them.
        training: Whether dropout drops.
    """
    is_seen = ~tf.math.is_nan(targets)
    places = tf.cast(tf.where(is_seen, targets, 0.0), tf.int32)
    logits = network(inputs, training=training)["logits"]
    costs = tf.nn.sparse_softmax_cross_entropy_with_logits(places, logits)
    weights = tf.cast(is_seen, costs.dtype)
    return tf.math.divide_no_nan(tf.reduce_sum(costs * weights), tf.reduce_sum(weights))


def classifier(network: keras.Model) -> Classifier:
    """A network as `compare` asks it: inputs of windows to the probabilities of their classes."""
    ask = tf.function(lambda inputs: tf.nn.softmax(network(inputs)["logits"]))
    return lambda inputs: ask(inputs).numpy()


def compare(
    ours: Classifier, panel: Panel, part: str, history: int, every: int = 1, stride: int = 1
) -> dict[str, ClassScores]:
    """Scores of a classifier, under `OURS`, and of all baselines, over the same windows.

    Args:
        ours: The classifier.
        panel, part, history, every: As in `rnnapps.data.labels.labelled_windows`.
        stride: `every` of the training part, which the baselines learn from.
    """
    classes = (panel.layout.categories or {})[panel.layout.targets[0]]
    counts = LabelIndex(panel, "train", history, stride).counts() + 1.0
    asked = {
        OURS: ours,
        MAJORITY: lambda inputs: np.tile(counts / counts.sum(), (len(inputs["past"]), 1)),
        LOGISTIC: logistic_regression(panel, history, stride),
    }
    found = {name: ClassScores(classes) for name in asked}
    for inputs, targets in labelled_windows(panel, part, history, _BATCH, every=every).as_numpy_iterator():
        for name, ask in asked.items():
            found[name].add(ask(inputs), targets)
    return found


def logistic_regression(panel: Panel, history: int, stride: int = 1, updates: int = _UPDATES) -> Classifier:
    """A linear map from all values of a window to its classes, trained on the training part: the same for one panel."""
    flat = flattened(panel)
    classes = len((panel.layout.categories or {})[panel.layout.targets[0]])
    windows = labelled_windows(panel, "train", history, _BATCH, seed=0, epochs=None, every=stride)
    width = flat(next(windows.as_numpy_iterator())[0]).shape[1]
    signature = tf.TensorSpec((None, width), tf.float32), tf.TensorSpec((None,), tf.float32)
    pairs = tf.data.Dataset.from_generator(lambda: _pairs(windows, flat), output_signature=signature)
    dense = keras.layers.Dense(classes, kernel_initializer="zeros", kernel_regularizer=keras.regularizers.L2(_RIDGE))
    model = keras.Sequential([keras.Input((width,)), dense])
    rate = keras.optimizers.schedules.CosineDecay(0.01, updates)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss, jit_compile=False)
    model.fit(pairs, steps_per_epoch=updates, epochs=1, verbose=0, shuffle=False)
    return lambda inputs: tf.nn.softmax(model(flat(inputs))).numpy()


def _pairs(windows: Iterable, flat: Callable[[Inputs], np.ndarray]):
    for inputs, targets in windows.as_numpy_iterator():  # type: ignore[attr-defined]
        yield flat(inputs), targets


def flattened(panel: Panel) -> Callable[[Inputs], np.ndarray]:
    """From the inputs of windows to one row of numbers each: scaled by the training part, categories as one of several;
    0 for what is missing."""
    layout, tables = panel.layout, scales(panel)
    sizes = {kind: [len((layout.categories or {}).get(name, ())) for name in getattr(layout, kind)] for kind in tables}

    def column(values: np.ndarray, size: int) -> np.ndarray:
        values = np.nan_to_num(values)
        if size:
            values = np.eye(size + 1, dtype=np.float32)[values.astype(int)][..., 1:]
        return values.reshape(len(values), -1)

    def flat(inputs: Inputs) -> np.ndarray:
        found = []
        for kind, (center, scale) in tables.items():
            scaled = (inputs[kind] - center) / scale
            found += [column(scaled[..., j], size) for j, size in enumerate(sizes[kind])]
        return np.concatenate(found, 1)

    return flat


def verdict(found: dict[str, ClassScores]) -> str:
    """One sentence: whether the network is better than the best baseline by macro F1, and by how much."""
    figures = {name: scores.figures() for name, scores in found.items()}
    best = max((name for name in figures if name != OURS), key=lambda name: figures[name]["macro_f1"])
    ours, other = figures[OURS], figures[best]
    gain = ours["macro_f1"] - other["macro_f1"]
    word = f"{abs(gain):.3f} {'better' if gain > 0 else 'WORSE'} in macro F1 than"
    word = "as good as" if abs(gain) < 0.0005 else word
    beside = ", ".join(
        f"{spoken} {ours[name]:.3f} against {other[name]:.3f}"
        for name, spoken in (("macro_f1", "macro F1"), ("accuracy", "accuracy"))
    )
    return f"{word} the {best}, the best of the simple answers ({beside})"
