"""Weights of recurrent layers from and to state dicts of torch; the table of names stands in `rnnapps.exchange`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import activations

from rnnapps import cells

# Name of the module in torch.nn: for each block of our columns, the block of torch's rows.
_ORDERS = {"RNN": (0,), "GRU": (1, 0, 2), "LSTM": (0, 1, 2, 3)}
_KINDS: dict[type, str] = {
    cells.SimpleRNNCell: "RNN",
    cells.GRUCell: "GRU",
    cells.LSTMCell: "LSTM",
    keras.layers.SimpleRNNCell: "RNN",
    keras.layers.GRUCell: "GRU",
    keras.layers.LSTMCell: "LSTM",
    cells.ProjectedLSTMCell: "LSTM",
}


def from_torch(layer_or_layers: Any, state_dict: Mapping[str, Any]) -> None:
    """Sets the weights of recurrent layers to those of a module of torch; builds layers that are not built.

        module = torch.nn.LSTM(8, 64, num_layers=2, batch_first=True)
        stack = [rnnapps.layers.LSTM(64, return_sequences=True), rnnapps.layers.LSTM(64)]
        rnnapps.exchange.from_torch(stack, module.state_dict())

    Args:
        layer_or_layers: `SimpleRNN`, `GRU`, `LSTM`, `Unroll` over one of their cells or a list of them, a
            `keras.layers.Bidirectional` around one, or a list of layers for `num_layers` above 1.
        state_dict: Names to arrays, on the processor.

    Raises:
        ValueError: A name is missing or has no place, a shape does not fit, or torch's module has no such layer. No
            weight was changed.
    """
    places = list(_places(layer_or_layers))
    new = [_ours(place, state_dict) for place in places]
    used = [place.key(name) for place in places for name in place.shapes()]
    for key in state_dict:
        if key not in used:
            shape = np.shape(np.asarray(state_dict[key]))
            raise ValueError(f"{key} of shape {shape} has no place: wanted {', '.join(used)} and no other")
    for place, weights in zip(places, new, strict=True):
        if not place.cell.built:
            place.layer.build((None, None, weights[0].shape[0]))
    for place, weights in zip(places, new, strict=True):
        place.cell.set_weights(weights)


def to_torch(layer_or_layers: Any) -> dict[str, np.ndarray]:
    """The weights of recurrent layers as a state dict of torch, of NumPy arrays.

        arrays = rnnapps.exchange.to_torch(stack)
        module.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})

    Args:
        layer_or_layers: As in `from_torch`, built.

    Raises:
        ValueError: A layer is not built, or torch's module has no such layer.
    """
    places = list(_places(layer_or_layers))
    return {key: array for place in places for key, array in _theirs(place).items()}


@dataclass(frozen=True)
class _Place:
    """A cell, and where torch keeps its weights.

    Attributes:
        layer: The layer that holds the cell.
        kind: Name of the module in torch.nn.
        suffix: The end of torch's names, such as "_l0_reverse".
    """

    layer: Any
    cell: Any
    kind: str
    suffix: str

    def key(self, name: str) -> str:
        return name + self.suffix

    def shapes(self) -> dict[str, tuple[int | None, ...]]:
        """Torch's names, in its order, and the shapes of their arrays; None for a size that the cell does not know."""
        rows = len(_ORDERS[self.kind]) * self.cell.units
        shapes: dict[str, tuple[int | None, ...]] = {
            "weight_ih": (rows, self.cell.kernel.shape[0] if self.cell.built else None),
            "weight_hh": (rows, self.cell.output_size),
        }
        if self.cell.use_bias:
            shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
        if isinstance(self.cell, cells.ProjectedLSTMCell):
            shapes["weight_hr"] = (self.cell.output_size, self.cell.units)
        return shapes


def _places(layer_or_layers: Any) -> Iterator[_Place]:
    stack = layer_or_layers if isinstance(layer_or_layers, (list, tuple)) else [layer_or_layers]
    level, first = 0, None
    for layer in stack:
        halves = {"": layer}
        if isinstance(layer, keras.layers.Bidirectional):
            halves = {"": layer.forward_layer, "_reverse": layer.backward_layer}
        for direction, half in halves.items():
            stacked = getattr(half, "cell", half)
            parts = getattr(stacked, "cells", [stacked])
            if len(parts) > 1 and len(halves) > 1:
                raise ValueError(f"{layer.name!r} is Bidirectional around {len(parts)} stacked cells: wanted one cell")
            for above, cell in enumerate(parts):
                kind = _kind(half, cell)
                first = first or kind
                if kind != first:
                    raise ValueError(
                        f"{layer.name!r} is a torch.nn.{kind}: wanted torch.nn.{first}, as the first layer is"
                    )
                yield _Place(layer, cell, kind, f"_l{level + above}{direction}")
        level += len(parts)


def _kind(layer: Any, cell: Any) -> str:
    """The name of the module in torch.nn that computes what the cell computes."""
    # The very class: a subclass may compute something else.
    kind = _KINDS.get(type(cell))
    if kind is None:
        known = ", ".join(sorted({known.__name__ for known in _KINDS}))
        raise ValueError(f"{layer.name!r} has a {type(cell).__name__}: wanted one of {known}")
    if kind == "GRU" and not cell.reset_after:
        raise ValueError(f"{layer.name!r} has reset_after=False: wanted True, as in torch.nn.GRU")
    wanted = {"activation": ["tanh", "relu"] if kind == "RNN" else ["tanh"], "recurrent_activation": ["sigmoid"]}
    for name, functions in wanted.items():
        function = getattr(cell, name, activations.get(functions[0]))
        if function not in [activations.get(known) for known in functions]:
            got = getattr(function, "__name__", function)
            raise ValueError(f"{layer.name!r} has {name}={got}: wanted {' or '.join(functions)}, as in torch.nn.{kind}")
    return kind


def _ours(place: _Place, state_dict: Mapping[str, Any]) -> list[np.ndarray]:
    """The weights of the cell, in its order, from those of torch."""
    arrays = {}
    for name, wanted in place.shapes().items():
        key = place.key(name)
        shape = tuple("any" if size is None else size for size in wanted)
        if key not in state_dict:
            got = ", ".join(list(state_dict)[:4]) or "nothing"
            raise ValueError(
                f"{key} is not in the state dict ({got}, ...): wanted shape {shape} for {place.layer.name!r}"
            )
        array = arrays[name] = np.asarray(state_dict[key])
        if len(array.shape) != len(wanted) or any(w not in (None, s) for w, s in zip(wanted, array.shape, strict=True)):
            raise ValueError(f"{key} has shape {array.shape}: wanted {shape} for {place.layer.name!r}")
    kernels = [_reordered(arrays[name].T, place.kind) for name in ("weight_ih", "weight_hh")]
    biases = []
    if "bias_ih" in arrays:
        both = _reordered(np.stack([arrays["bias_ih"], arrays["bias_hh"]]), place.kind)
        biases = [both if place.kind == "GRU" else both.sum(axis=0)]
    return [*kernels, *biases, *([arrays["weight_hr"].T] if "weight_hr" in arrays else [])]


def _theirs(place: _Place) -> dict[str, np.ndarray]:
    """The weights of the cell by torch's names."""
    if not place.cell.built:
        raise ValueError(f"{place.layer.name!r} has no weights yet: wanted a layer that is built")
    cell = place.cell
    arrays = {
        "weight_ih": _reordered(np.asarray(cell.kernel), place.kind).T,
        "weight_hh": _reordered(np.asarray(cell.recurrent_kernel), place.kind).T,
    }
    if cell.use_bias:
        bias = _reordered(np.asarray(cell.bias), place.kind)
        arrays["bias_ih"], arrays["bias_hh"] = bias if place.kind == "GRU" else (bias, np.zeros_like(bias))
    if isinstance(cell, cells.ProjectedLSTMCell):
        arrays["weight_hr"] = np.asarray(cell.projection_kernel).T
    return {place.key(name): np.ascontiguousarray(array) for name, array in arrays.items()}


def _reordered(columns: np.ndarray, kind: str) -> np.ndarray:
    """The blocks of the last axis from torch's order into ours, or back: each order is its own inverse."""
    blocks = np.split(columns, len(_ORDERS[kind]), axis=-1)
    return np.concatenate([blocks[source] for source in _ORDERS[kind]], axis=-1)
