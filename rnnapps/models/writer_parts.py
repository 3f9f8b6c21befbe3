"""What networks that write sentences are made of, with a seed for each of their weights."""

from collections.abc import Callable, Mapping
from typing import Any

import keras

from rnnapps import cells
from rnnapps import layers as recurrent

CELLS = {
    "gru": cells.GRUCell,
    "lstm": cells.LSTMCell,
    "simple_rnn": cells.SimpleRNNCell,
    "layer_norm_lstm": cells.LayerNormLSTMCell,
    "layer_norm_gru": cells.LayerNormGRUCell,
    "peephole_lstm": cells.PeepholeLSTMCell,
    "coupled_lstm": cells.CoupledLSTMCell,
    "ugrnn": cells.UGRNNCell,
    "min_gru": cells.MinGRUCell,
    "sru": cells.SRUCell,
}


class WriterParts:
    """The layers that translators and captioners share.

    Args:
        network: What is built, for errors.
        cell: A key of `CELLS`.
        units: Size of each cell's state.
        layers: Cells on top of each other.
        width: Size of the learnt vector of a token.
        options: What the caller was given.
        more: Options of the network itself, with their defaults; those in `DEFAULTS` are known.

    Attributes:
        options: All of them, with their defaults.

    Raises:
        ValueError: `cell` or an option is not known.
    """

    DEFAULTS: Mapping[str, Any] = {
        "score": "additive", "attention_units": None, "input_feeding": True, "coverage": False, "sentinel": False,
        "tied": True, "dropout": 0.0, "locked": False, "recurrent_dropout": 0.0, "seed": 0, "dtype": "float32",
    }  # fmt: skip

    def __init__(
        self,
        network: str,
        cell: str,
        units: int,
        layers: int,
        width: int,
        options: Mapping[str, Any],
        more: Mapping[str, Any],
    ):
        if cell not in CELLS:
            raise ValueError(f"cell is {cell!r}: wanted one of {', '.join(CELLS)}")
        known = {**self.DEFAULTS, **more}
        unknown = sorted(set(options) - set(known))
        if unknown:
            raise ValueError(f"{network} got {unknown}: wanted {', '.join(known)}")
        self.options = {**known, **options}
        self.cell_name, self.units, self.layers, self.width = cell, units, layers, width
        self.dtype = self.options["dtype"]
        self._numbers = iter(range(1, 1000))

    def seed(self) -> int:
        """Another one at each call."""
        return (self.options["seed"] * 1_000_003 + next(self._numbers)) % 2**31

    def glorot(self):
        """The initializer of a matrix."""
        return keras.initializers.GlorotUniform(seed=self.seed())

    def cell(self, units, name="cell"):
        """One of the kind that was asked for."""
        make, dropout = CELLS[self.cell_name], self.options["recurrent_dropout"]
        recurrent = {
            "recurrent_initializer": keras.initializers.Orthogonal(seed=self.seed()),
            "recurrent_dropout": dropout,
        }
        if issubclass(make, cells.LinearCell):
            if dropout:
                raise ValueError(
                    f"recurrent_dropout {dropout} with cell {self.cell_name!r}: wanted 0, as it has no such matrix"
                )
            recurrent = {}
        return make(units, kernel_initializer=self.glorot(), seed=self.seed(), dtype=self.dtype, name=name, **recurrent)

    def embedding(self, size, name):
        """The learnt vectors of so many ids, which can also be output weights."""
        return keras.layers.ReversibleEmbedding(
            size,
            self.width,
            embeddings_initializer=keras.initializers.RandomNormal(stddev=self.width**-0.5, seed=self.seed()),
            reverse_dtype="float32",
            dtype=self.dtype,
            name=name,
        )

    def decoder(self):
        """The cells over time, with what they look by."""
        names = ("score", "input_feeding", "coverage", "sentinel")
        return recurrent.AttentionDecoder(
            [self.cell(self.units, f"cell_{i}") for i in range(self.layers)],
            units=self.width if self.options["tied"] else self.units,
            attention_units=self.options["attention_units"],
            residual=self.layers > 1,
            kernel_initializer=self.glorot(),
            dtype=self.dtype,
            name="decoder",
            **{name: self.options[name] for name in names},
        )

    def drop(self, x, name):
        """Dropout of x, if there is any."""
        if not self.options["dropout"]:
            return x
        shape = (None, 1, None) if self.options["locked"] else None
        return keras.layers.Dropout(
            self.options["dropout"], noise_shape=shape, seed=self.seed(), dtype=self.dtype, name=name
        )(x)

    def output(self, size, embedding) -> Callable:
        """From a_t to logits."""
        if self.options["tied"]:
            return lambda x: embedding(x, reverse=True)
        return keras.layers.Dense(size, kernel_initializer=self.glorot(), dtype="float32", name="logits")
