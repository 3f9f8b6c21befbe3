"""Layers and models of Keras as those of rnnapps, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import keras

from rnnapps import cells, layers

# Classes of Keras and those that take their place.
_NAMESAKES: dict[type, type] = {
    keras.layers.SimpleRNN: layers.SimpleRNN,
    keras.layers.GRU: layers.GRU,
    keras.layers.LSTM: layers.LSTM,
    keras.layers.ConvLSTM2D: layers.ConvLSTM2D,
    keras.layers.RNN: layers.Unroll,
    keras.layers.SimpleRNNCell: cells.SimpleRNNCell,
    keras.layers.GRUCell: cells.GRUCell,
    keras.layers.LSTMCell: cells.LSTMCell,
}


def from_keras(layer: Any) -> Any:
    """A copy of a layer of Keras as its namesake in rnnapps, with its weights.

    Args:
        layer: `keras.layers.SimpleRNN`, `GRU`, `LSTM`, `ConvLSTM2D` or `RNN`, also inside `Bidirectional` or
            `TimeDistributed`. `RNN` becomes `Unroll`, with the cells of rnnapps where they are `SimpleRNNCell`,
            `GRUCell` or `LSTMCell`.

    Raises:
        ValueError: There is no such layer in it.
    """
    return _namesake(layer, _NAMESAKES)


def to_keras(layer: Any) -> Any:
    """A copy of a layer of rnnapps as its namesake in Keras, with its weights: the reverse of `from_keras`.

    `execution`, which Keras does not have, is dropped.

    Raises:
        ValueError: There is no layer of rnnapps in it, or one with a cell that Keras does not have.
    """
    namesakes = {ours: theirs for theirs, ours in _NAMESAKES.items()}
    for part in _parts(_renamed_config(layer, namesakes)):
        if str(part.get("registered_name")).startswith("rnnapps>"):
            raise ValueError(f"{layer.name!r} holds a {part['class_name']}: wanted only what Keras has too")
    return _namesake(layer, namesakes)


def convert(model: Any) -> Any:
    """A copy of a model in which every `SimpleRNN`, `GRU`, `LSTM`, `ConvLSTM2D` and `RNN` is its namesake in rnnapps.

    Weights and names are kept; the copy is not compiled. Layers inside `Bidirectional`, `TimeDistributed` and inner
    models are replaced too; subclasses of Keras' layers stay what they are.

    Args:
        model: A functional or a `Sequential` model.

    Raises:
        ValueError: The model is of another kind, whose layers Keras cannot find.
    """
    # `clone_model` would compile the copy, and cannot where the loss is a function that Keras does not know.
    was_compiled, model.compiled = model.compiled, False
    try:
        new = keras.models.clone_model(model, clone_function=_converted, recursive=True)
    finally:
        model.compiled = was_compiled
    if model.built and not new.built:
        new.build_from_config(model.get_build_config())
    new.set_weights(model.get_weights())
    return new


def _converted(layer: Any) -> Any:
    """A new layer for `clone_model`, without weights."""
    if isinstance(layer, keras.layers.Lambda):
        return layer  # holds no weights, and a function that Keras may not be able to write down
    config = _renamed_config(layer, _NAMESAKES)
    if config is None:
        return type(layer).from_config(layer.get_config())
    return keras.saving.deserialize_keras_object(config)


def _namesake(layer: Any, namesakes: Mapping[type, type]) -> Any:
    """A copy of a layer with other classes in it, and with its weights."""
    config = _renamed_config(layer, namesakes)
    if config is None:
        wanted = ", ".join(f"{old.__module__.partition('.')[0]}'s {old.__name__}" for old in namesakes)
        raise ValueError(f"{layer.name!r} is a {type(layer).__name__}: wanted {wanted}, or a wrapper of one")
    new = keras.saving.deserialize_keras_object(config)
    if layer.built:
        new.build_from_config(layer.get_build_config())
    new.set_weights(layer.get_weights())
    return new


def _renamed_config(layer: Any, namesakes: Mapping[type, type]) -> dict[str, Any] | None:
    """The serialized layer with other classes in it, or None where there is nothing to replace."""
    config = keras.saving.serialize_keras_object(layer)
    renamed = _renamed(config, namesakes)
    return None if renamed == _renamed(config, {}) else renamed


def _renamed(config: Any, namesakes: Mapping[type, type]) -> Any:
    """A serialized object in which the classes, at any depth, are replaced by their namesakes."""
    if isinstance(config, (list, tuple)):
        return type(config)(_renamed(item, namesakes) for item in config)
    if not isinstance(config, dict):
        return config
    # Built by the layer around them, the weights get their usual paths.
    new = {key: _renamed(value, namesakes) for key, value in config.items() if key != "build_config"}
    for old, namesake in namesakes.items():
        if "class_name" in config and _head(old).items() <= config.items():
            new |= _head(namesake)
            if not issubclass(namesake, layers.Unroll):
                new["config"].pop("execution", None)  # Keras does not have it
    return new


def _head(cls: type) -> dict[str, str | None]:
    """How Keras writes down a class."""
    registered = keras.saving.get_registered_name(cls)
    is_stock = registered == cls.__name__
    return {
        "module": "keras.layers" if is_stock else cls.__module__,
        "class_name": cls.__name__,
        "registered_name": None if is_stock else registered,
    }


def _parts(config: Any) -> Iterator[dict[str, Any]]:
    """Every dictionary in a serialized object."""
    items = config.values() if isinstance(config, dict) else config if isinstance(config, (list, tuple)) else ()
    if isinstance(config, dict):
        yield config
    for item in items:
        yield from _parts(item)
