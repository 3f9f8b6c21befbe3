"""The gradient of a loss as it goes back through the steps of one recurrent layer.

With states s_t (the first of them is called h_t here), loss L and a weight W of the cell,

    dL/ds_t                          what reaches step t
    dh_T/dh_k                        the product of the T - k Jacobians of single steps between them
    dL/dW = sum_t dL/dW_t            W_t is the copy of W that step t uses

A product of many Jacobians vanishes or explodes unless their singular values stay near 1: Bengio et al., 1994,
https://doi.org/10.1109/72.279181; Pascanu et al., 2013, https://arxiv.org/abs/1211.5063

Everything is measured on a Python loop over the cell's own step, one operation after another: clear, and slow.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from rnnapps import layers


@dataclass(frozen=True)
class GradientFlow:
    """What `gradient_flow` measured in one layer, over T steps in the order in which the layer takes them.

    Attributes:
        layer: Name of the layer.
        loss: L.
        d_states: `(number of states, T)`: norm of dL/ds_t over rows and units (Frobenius), one line for each state of
            the cell. All that is computed from s_t counts: later steps, outputs and, where h_t is computed from c_t,
            h_t for c_t. At a step that a mask skips, it is the state kept that counts.
        jacobians: `(T,)`: at index T - k, the spectral norm (largest singular value) of dh_T/dh_k, mean over the rows.
        weight: Path of the weight that `terms` are about.
        terms: `(T, *shape of the weight)`: what each step adds to the gradient. Their sum is the gradient of L, without
            the gradient of a regularizer.
    """

    layer: str
    loss: float
    d_states: np.ndarray
    jacobians: np.ndarray
    weight: str
    terms: np.ndarray

    @property
    def d_hidden(self) -> np.ndarray:
        """`(T,)`: norm of dL/dh_t, the first line of `d_states`."""
        return self.d_states[0]

    @property
    def term_norms(self) -> np.ndarray:
        """`(T,)`: norm of what each step adds to the gradient of the weight (Frobenius)."""
        return np.array([norm(term) for term in self.terms])

    @property
    def gradient_norm(self) -> float:
        """Norm of the whole gradient of the weight (Frobenius)."""
        return norm(self.terms.sum(axis=0))


def gradient_flow(
    model: Any,
    batch: Any,
    layer: Any = None,
    loss: Callable[[Any, Any], Any] | None = None,
    weight: str | None = None,
) -> GradientFlow:
    """Measures how the gradient of a loss goes back through the steps of one layer of `model`, without dropout.

    Takes T Jacobians of `(states, states)` for each row: a batch of a few rows is enough. Changes nothing in the model.

    Args:
        model: A Keras model, or a layer, that holds an `Unroll` (`SimpleRNN`, `GRU` and `LSTM` of rnnapps are such;
            `rnnapps.exchange.convert` puts them into a model of Keras' layers).
        batch: What `fit` takes: inputs, `(inputs, targets)` or `(inputs, targets, sample weights)`.
        layer: The layer, or its name. Default: the only one.
        loss: `(targets, outputs) -> loss`; the mean over its elements is differentiated. Default: that of `compile`.
        weight: Name, or end of the path, of the cell's weight whose gradient is taken apart. Default:
            "recurrent_kernel" or, in a cell without one, the first weight.

    Raises:
        ValueError: There is no such layer or weight, there is no loss, or the model runs the layer not exactly once.
    """
    inputs, targets, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
    if loss is None and not getattr(model, "compiled", False):
        raise ValueError(f"{model.name!r} has no loss: wanted a model that is compiled, or the argument loss")
    chosen = _find_layer(model, layer)
    if not chosen.built:
        model(inputs, training=False)
    record = _Record(chosen.cell, _find_weight(chosen, weight))
    # The scope keeps a stateful layer from going on.
    with record.tape, _stepped_by(chosen, record.run), keras.StatelessScope():
        outputs = model(inputs, training=False)
    if record.runs != 1:
        raise ValueError(f"{chosen.name!r} runs {record.runs} times in {model.name!r}: wanted once")
    with record.tape:
        if loss is None:
            total = model.compute_loss(inputs, targets, outputs, sample_weight, training=False)
        else:
            total = tf.reduce_mean(loss(targets, outputs))
    d_states, terms = record.gradients(total)
    return GradientFlow(chosen.name, float(total), d_states, record.jacobians(), record.weight.path, terms)


class _Record:
    """A loop over the steps of a cell that keeps the tensors whose gradients are wanted.

    Attributes:
        runs: How often the loop ran.
    """

    def __init__(self, cell: Any, weight: Any) -> None:
        self.cell, self.weight = cell, weight
        self.tape = tf.GradientTape(persistent=True)
        self.runs = 0
        self.copies: list[Any] = []  # of the weight, one for each step
        self.steps: list[tuple[Any, Any, list[Any]]] = []  # input, mask or None, states before
        self.computed: list[list[Any]] = []  # states as the cell returns them
        self.kept: list[list[Any]] = []  # states after the mask: those that the next step gets

    def run(self, sequences: Any, initial_state: Any, mask: Any, go_backwards: bool, zero_output: bool) -> Any:
        """The outputs, last, all and the states, as `inner_loop` of a layer returns them."""
        self.runs += 1
        self.structure = initial_state
        states = keras.tree.flatten(initial_state)
        outputs: list[Any] = []
        order = range(sequences.shape[1])
        for t in reversed(order) if go_backwards else order:
            copy = tf.identity(self.weight.value)
            self.tape.watch(copy)
            with keras.StatelessScope([(self.weight, copy)]):
                output, new = self._step(sequences[:, t], states)
            self.tape.watch(new)
            keep = None if mask is None else tf.cast(mask[:, t], "bool")
            kept, before = new, tf.zeros_like(output) if zero_output or not outputs else outputs[-1]
            if keep is not None:
                kept = [_where(keep, n, s) for n, s in zip(new, states, strict=True)]
                self.tape.watch(kept)
                output = _where(keep, output, before)
            self.copies.append(copy)
            self.steps.append((sequences[:, t], keep, states))
            self.computed.append(new)
            self.kept.append(kept)
            outputs.append(output)
            states = kept
        return outputs[-1], tf.stack(outputs, 1), keras.tree.pack_sequence_as(initial_state, states)

    def _step(self, inputs: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        output, new = self.cell(inputs, keras.tree.pack_sequence_as(self.structure, states))
        return output, keras.tree.flatten(new)

    def gradients(self, loss: Any) -> tuple[np.ndarray, np.ndarray]:
        """The norms of dL/ds_t, `(states, T)`, and the terms of dL/dW."""
        zero = tf.UnconnectedGradients.ZERO
        of_computed, of_kept, terms = self.tape.gradient(
            loss, [self.computed, self.kept, self.copies], unconnected_gradients=zero
        )
        norms = np.zeros((len(of_kept[0]), len(self.steps)))
        for t, (_, keep, _) in enumerate(self.steps):
            for i, (d_computed, d_kept) in enumerate(zip(of_computed[t], of_kept[t], strict=True)):
                d_state = d_computed if keep is None else _where(keep, d_computed, d_kept)
                norms[i, t] = norm(np.asarray(d_state, "float64"))
        return norms, np.stack([np.asarray(term, "float64") for term in terms])

    def jacobians(self) -> np.ndarray:
        """The spectral norm of dh_T/dh_k at index T - k, mean over the rows."""
        states = self.kept[-1]
        sizes = [int(np.prod(state.shape[1:])) for state in states]
        rows, units, total = states[0].shape[0], sizes[0], sum(sizes)

        @tf.function(autograph=False)
        def jacobian(inputs: Any, flat: Any) -> Any:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(flat)
                before = [tf.reshape(s, like.shape) for s, like in zip(tf.split(flat, sizes, 1), states, strict=True)]
                after = _flat(self._step(inputs, before)[1])
            return tape.batch_jacobian(after, flat)

        product = np.broadcast_to(np.eye(total), (rows, total, total))
        norms = [1.0]
        for inputs, keep, before in reversed(self.steps[1:]):
            step = np.asarray(jacobian(inputs, _flat(before)), "float64")
            if keep is not None:
                step = np.where(np.asarray(keep)[:, None, None], step, np.eye(total))
            with np.errstate(over="ignore", invalid="ignore"):
                product = product @ step
            block = product[:, :units, :units]
            finite = np.isfinite(block).all()
            norms.append(float(np.linalg.norm(block, 2, axis=(1, 2)).mean()) if finite else np.inf)
        return np.array(norms)


def norm(array: np.ndarray) -> float:
    """The Frobenius norm; infinite where its square is more than a float holds, as an exploding gradient's may be."""
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.linalg.norm(array.ravel()))


def _flat(states: list[Any]) -> Any:
    """`(rows, all units of all states)`."""
    return tf.concat([tf.reshape(state, (state.shape[0], -1)) for state in states], 1)


def _where(rows: Any, yes: Any, no: Any) -> Any:
    """`yes` in the rows that are true, for tensors of any rank."""
    return tf.where(tf.reshape(rows, (-1, *[1] * (len(yes.shape) - 1))), yes, no)


@contextlib.contextmanager
def _stepped_by(layer: Any, run: Callable[..., Any]) -> Iterator[None]:
    """Puts a loop of our own in the place of the layer's."""

    def inner_loop(sequences: Any, initial_state: Any, mask: Any, training: bool = False) -> Any:
        mask = mask[0] if isinstance(mask, (list, tuple)) else mask
        return run(sequences, initial_state, mask, layer.go_backwards, layer.zero_output_for_mask)

    vars(layer)["inner_loop"] = inner_loop
    try:
        yield
    finally:
        del vars(layer)["inner_loop"]


def _find_layer(model: Any, wanted: Any) -> Any:
    """The layer of rnnapps that is meant."""
    found = [part for part in model._flatten_layers() if isinstance(part, layers.Unroll)]
    names = ", ".join(part.name for part in found) or "none"
    chosen = [part for part in found if wanted is None or part is wanted or part.name == wanted]
    if len(chosen) != 1:
        got = getattr(wanted, "name", wanted)
        raise ValueError(
            f"layer={got!r} is no single recurrent layer of rnnapps in {model.name!r}: wanted one of {names}"
        )
    return chosen[0]


def _find_weight(layer: Any, wanted: str | None) -> Any:
    """The weight of the cell that is meant."""
    weights = layer.cell.weights
    if wanted is None:
        return next((weight for weight in weights if weight.name == "recurrent_kernel"), weights[0])
    found = [weight for weight in weights if weight.path.endswith(wanted)]
    if len(found) != 1:
        names = ", ".join(weight.path for weight in weights)
        raise ValueError(f"weight={wanted!r} is no single weight of {layer.name!r}: wanted one of {names}")
    return found[0]
