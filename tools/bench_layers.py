"""Recurrent layers beside other ways to compute them: what `bench.py train`, `infer` and `linear` time.

A piece of work is one training step (forward, the mean of the squared outputs, the gradients of all weights) or one
forward pass of a stack of layers, on random inputs. All ways get the same weights, and what they compute is compared
before anything is timed. "matrix products" computes nothing: it is the products of the work alone, each over all steps
at once, which no loop over time can undercut.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from contenders import Contender, Result, interleave
from torch_text import TorchStack

from rnnapps.errors import RunError, UsageError

OURS, KERAS, TORCH, PRODUCTS = "rnnapps", "Keras", "PyTorch", "matrix products"
KERAS_NAMES = {"lstm": "LSTM", "gru": "GRU", "simple_rnn": "SimpleRNN"}
GATES = {"lstm": 4, "gru": 3, "simple_rnn": 1}
# How far results may differ, as a share of the largest value of their tensor.
AGREE = {"float32": 1e-3, "mixed_bfloat16": 0.1}

Layer = tuple[np.ndarray, np.ndarray, np.ndarray]  # kernel, recurrent kernel, bias, as Keras holds them


class Row(NamedTuple):
    """The sizes of a piece of work."""

    batch: int
    steps: int
    features: int
    units: int
    layers: int

    @classmethod
    def parse(cls, text: str) -> Row:
        """Reads "batch,steps,input,units,layers"."""
        parts = text.split(",")
        if len(parts) != len(cls._fields) or not all(part.strip().isdecimal() and int(part) for part in parts):
            raise argparse.ArgumentTypeError(f"wanted batch,steps,input,units,layers as whole numbers, not {text!r}")
        return cls(*map(int, parts))

    def __str__(self) -> str:
        return ",".join(map(str, self))

    def inputs_of_layers(self) -> list[int]:
        return [self.features, *[self.units] * (self.layers - 1)]


ROWS = (Row(64, 100, 512, 512, 1), Row(32, 100, 256, 256, 2), Row(50, 50, 128, 128, 2))
LONG = (Row(16, 1024, 128, 128, 1),)


@dataclass
class Way:
    """One way to do the work of a row.

    Attributes:
        name: Of the contender.
        compute: Does it, and returns the tensors that it found.
        arrays: Makes arrays of them, in the layout of Keras: the outputs, or the loss and the gradients.
        model: Ways of one model must agree; empty for work without a result.
        found: What the first run returned, until it has been compared.
    """

    name: str
    compute: Callable[[], Any]
    arrays: Callable[[Any], list[np.ndarray]]
    model: str = "model"
    found: Any = None

    def setup(self) -> None:
        self.found = self.compute()


def compare(ways: Sequence[Way], limit: float) -> float:
    """Holds what ways of the same model found against each other, and forgets it.

    Returns:
        The largest difference of two elements, as a share of the largest element of their tensor.

    Raises:
        RunError: It is above `limit`.
    """
    worst, first = 0.0, {way.model: way for way in reversed(ways) if way.model}
    wanted = {model: way.arrays(way.found) for model, way in first.items()}
    for way in ways:
        found = way.arrays(way.found) if way.model else []
        way.found = None
        for i, (one, other) in enumerate(zip(found, wanted.get(way.model, []), strict=True)):
            difference = float(np.abs(one - other).max() / np.abs(other).max())
            if not difference <= limit:  # nor is a NaN
                what = f"result {i} of {way.name} differs from that of {first[way.model].name} by {difference:.1e}"
                raise RunError(f"{what} of its largest value: wanted {limit} at most")
            worst = max(worst, difference)
    return worst


# === Ways ===


def random_layers(row: Row, cell: str) -> list[Layer]:
    rng, limit = np.random.default_rng(1), row.units**-0.5
    width = GATES[cell] * row.units

    def draw(*shape: int) -> np.ndarray:
        return rng.uniform(-limit, limit, shape).astype("float32")

    bias = (2, width) if cell == "gru" else (width,)
    return [(draw(features, width), draw(row.units, width), draw(*bias)) for features in row.inputs_of_layers()]


def random_inputs(row: Row) -> np.ndarray:
    return np.random.default_rng(2).normal(size=(row.batch, row.steps, row.features)).astype("float32")


def keras_stack(make: Callable[[], Any], row: Row, weights: Sequence[Layer] | None) -> list[Any]:
    """Layers of Keras' interface, built."""
    stack = [make() for _ in range(row.layers)]
    for i, (layer, features) in enumerate(zip(stack, row.inputs_of_layers(), strict=True)):
        layer.build((row.batch, row.steps, features))
        if weights is not None:
            layer.set_weights(weights[i])
    return stack


def keras_way(name: str, stack: Sequence[Any], x: np.ndarray, train: bool, xla: bool, model: str = "model") -> Way:
    """A stack of layers of Keras' interface in a `tf.function`."""
    import tensorflow as tf

    def forward(x: Any) -> Any:
        for layer in stack:
            x = layer(x, training=train)
        return tf.cast(x, tf.float32)

    def step(x: Any) -> list[Any]:
        if not train:
            return [forward(x)]
        weights = [weight.value for layer in stack for weight in layer.trainable_weights]
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(forward(x)))
        return [loss, *tape.gradient(loss, weights)]

    traced = tf.function(step, jit_compile=xla, autograph=False)
    inputs = tf.constant(x)
    return Way(name, lambda: traced(inputs), lambda found: [tensor.numpy() for tensor in found], model)


def torch_way(cell: str, weights: Sequence[Layer], x: np.ndarray, train: bool, threads: int | None) -> Way:
    import torch

    stack, inputs = TorchStack(cell, weights), torch.tensor(x)

    def compute() -> list[Any]:
        if threads:
            torch.set_num_threads(threads)
        return stack.train(inputs) if train else stack.infer(inputs)

    return Way(TORCH, compute, stack.arrays if train else lambda found: [found[0].numpy()])


def products_way(row: Row, cell: str, train: bool, dtype: str) -> Way:
    """The matrix products of the work, each over all steps at once, and nothing between them."""
    import tensorflow as tf

    rng, rows, width = np.random.default_rng(3), row.batch * row.steps, GATES[cell] * row.units

    def tensor(*shape: int) -> Any:
        return tf.cast(tf.constant(rng.normal(size=shape).astype("float32")), dtype)

    sizes = [size for features in row.inputs_of_layers() for size in (features, row.units)]
    layers = [(tensor(rows, size), tensor(size, width)) for size in sizes]
    gradient = tensor(rows, width)

    def step(layers: Any, gradient: Any) -> list[Any]:
        found = [tf.matmul(x, kernel) for x, kernel in layers]
        if train:
            found += [tf.matmul(x, gradient, transpose_a=True) for x, _ in layers]
            # Nobody asks for the gradient of the inputs of the first layer.
            found += [tf.matmul(gradient, kernel, transpose_b=True) for _, kernel in layers[1:]]
        return found

    traced = tf.function(step, autograph=False)
    return Way(PRODUCTS, lambda: traced(layers, gradient), lambda found: [], model="")


# === Commands ===


def layers(options: argparse.Namespace, train: bool) -> dict[str, Any]:
    """Times the ways to compute layers of one kind."""
    if importlib.util.find_spec("torch") is None:
        print("PyTorch is not installed, so it does not take part: pip install -e '.[bench]'", file=sys.stderr)
    what = f"{options.cell}, {'training step' if train else 'forward pass'}"
    return measure(options, what, options.rows or ROWS, partial(_ways_of_layers, options, train), (KERAS, TORCH))


def _ways_of_layers(options: argparse.Namespace, train: bool, row: Row) -> list[Way]:
    import keras

    import rnnapps.layers

    name, weights, x = KERAS_NAMES[options.cell], random_layers(row, options.cell), random_inputs(row)
    ways = []
    for maker, module, dtype in ((OURS, rnnapps.layers, options.precision), (KERAS, keras.layers, "float32")):
        make = partial(getattr(module, name), row.units, return_sequences=True, dtype=dtype)
        for xla in (False, True):
            stack = keras_stack(make, row, weights)
            ways.append(keras_way(maker + ", XLA" * xla, stack, x, train, xla))
    if importlib.util.find_spec("torch") is not None:
        ways.append(torch_way(options.cell, weights, x, train, options.threads))
    ways.append(products_way(row, options.cell, train, options.precision.removeprefix("mixed_")))
    return ways


def linear(options: argparse.Namespace) -> dict[str, Any]:
    """Times a training step of a cell without a loop over time beside that of the LSTM."""
    import rnnapps.cells
    from rnnapps.layers import LSTM, Unroll

    cell = getattr(rnnapps.cells, "MinGRUCell", None)
    if cell is None:
        raise UsageError("linear times rnnapps.cells.MinGRUCell, which this version of rnnapps has not")
    makers: dict[str, Callable[..., Any]] = {
        "MinGRU": lambda units, **kwargs: Unroll(cell(units, dtype=kwargs["dtype"]), **kwargs),
        "LSTM": LSTM,
    }

    def ways(row: Row) -> list[Way]:
        found, x = [], random_inputs(row)
        for model, maker in makers.items():
            make: Callable[[], Any] = partial(maker, row.units, return_sequences=True, dtype=options.precision)
            weights = [layer.get_weights() for layer in keras_stack(make, row, None)]
            for xla in (False, True):
                stack = keras_stack(make, row, weights)
                found.append(keras_way(model + ", XLA" * xla, stack, x, True, xla, model))
        return found

    return measure(options, "MinGRU and LSTM, training step", options.rows or LONG, ways, ("LSTM",))


def measure(
    options: argparse.Namespace, what: str, rows: Sequence[Row], ways: Callable[[Row], list[Way]], rivals: Sequence[str]
) -> dict[str, Any]:
    """Times all ways of each row, prints a table a row and returns what was measured."""
    if options.threads:
        from rnnapps import runtime

        runtime.configure(options.threads)
    figures = []
    for row in rows:
        contenders = ways(row)
        difference, results = _measure_row(options, contenders)
        print(f"{what}; {_described(options, row)}; results differ by {difference:.1e}")
        print(f"{table(results, rivals)}\n", flush=True)
        figures.append({"row": str(row), "difference": difference, "results": [asdict(result) for result in results]})
    settings = {name: getattr(options, name, None) for name in ("cell", "threads", "precision", "warm")}
    return {**settings, "rows": figures}


def _measure_row(options: argparse.Namespace, ways: Sequence[Way]) -> tuple[float, list[Result]]:
    found: list[float] = []
    contenders = [Contender(way.name, way.setup, way.compute) for way in ways]

    def check() -> None:
        found.append(compare(ways, AGREE[options.precision]))

    results = interleave(contenders, options.rounds, warm=options.warm, check=check)
    return found[0], results


def _described(options: argparse.Namespace, row: Row) -> str:
    sizes = f"batch {row.batch}, {row.steps} steps, input {row.features}, {row.units} units, layers {row.layers}"
    half = "" if options.precision == "float32" else f"; {OURS} and products: {options.precision}, others: float32"
    return f"{sizes}; {options.threads or 'default'} threads{half}"


def table(results: Sequence[Result], rivals: Sequence[str]) -> str:
    """Milliseconds, and how many times as fast each way is as each rival, the faster one of its forms."""
    width = max(len(result.name) for result in results)
    forms = {rival: [r.median_seconds for r in results if r.name.partition(",")[0] == rival] for rival in rivals}
    best = {rival: min(seconds) for rival, seconds in forms.items() if seconds}
    columns = "".join(f"  {'x ' + rival:>9}" for rival in best)
    lines = [f"{'':{width}}  {'median ms':>10}  {'fastest':>8}  {'slowest':>8}  {'setup s':>7}{columns}"]
    for r in results:
        ratios = "".join(f"  {seconds / r.median_seconds:9.2f}" for seconds in best.values())
        lines.append(
            f"{r.name:{width}}  {1e3 * r.median_seconds:10.2f}  {1e3 * min(r.seconds):8.2f}  "
            f"{1e3 * max(r.seconds):8.2f}  {r.setup_seconds:7.2f}{ratios}"
        )
    return "\n".join(lines)
