"""Our models in PyTorch, with the same weights: what `bench.py` compares with.

PyTorch is imported when a `TorchLoop` or a `TorchStack` is made; it is in the `bench` extra only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from rnnapps.errors import UsageError


class Weights(NamedTuple):
    """An LSTM text model as Keras holds it; gates stand in order i, f, g, o, as in PyTorch."""

    embedding: np.ndarray  # (vocabulary, features)
    layers: list[tuple[np.ndarray, np.ndarray, np.ndarray]]  # kernel (in, 4 u), recurrent kernel (u, 4 u), bias (4 u,)
    kernel: np.ndarray  # (units, vocabulary)
    bias: np.ndarray  # (vocabulary,)


def lstm_weights(variables: Sequence[Any]) -> Weights:
    """Sorts the variables of a text model, in the order of `model.variables`, by what they are.

    Raises:
        UsageError: They are not those of LSTM layers.
    """
    arrays = [np.asarray(v) for v in variables if "float" in str(v.dtype)]  # not the states of random generators
    embedding, rest = arrays[0], arrays[1:]
    vocabulary = len(embedding)
    # A tied model has no output weights of its own.
    tied = len(rest) % 3 == 0
    kernel, bias = (embedding.T, np.zeros(vocabulary, np.float32)) if tied else rest[-2:]
    stack = rest if tied else rest[:-2]
    layers = [(stack[i], stack[i + 1], stack[i + 2]) for i in range(0, len(stack), 3)]
    if not layers or any(u.shape[1] != 4 * len(u) or b.shape != (4 * len(u),) for _, u, b in layers):
        raise UsageError(f"the model's weights {[a.shape for a in arrays]} are not of LSTM layers: wanted --cell lstm")
    return Weights(embedding, layers, kernel, bias)


class TorchLoop:
    """The same model in PyTorch, which writes token by token in a Python loop.

    Args:
        weights: Of the model.
        cells: Whether the loop steps `nn.LSTMCell`s, or calls `nn.LSTM` with sequences of length 1.
    """

    def __init__(self, weights: Weights, cells: bool):
        import torch

        self._torch, self._layers = torch, weights.layers
        self._embedding = torch.nn.Embedding.from_pretrained(torch.tensor(weights.embedding))
        self._output = torch.nn.Linear(*weights.kernel.shape)
        features, units = weights.embedding.shape[1], len(weights.kernel)
        sizes = [features] + [units] * (len(weights.layers) - 1)
        self._cells = [torch.nn.LSTMCell(size, units) for size in sizes] if cells else []
        self._lstm = None if cells else torch.nn.LSTM(features, units, len(sizes), batch_first=True)
        with torch.no_grad():
            self._output.weight.copy_(torch.tensor(weights.kernel.T))
            self._output.bias.copy_(torch.tensor(weights.bias))
            for i, (kernel, recurrent, bias) in enumerate(weights.layers):
                owner, suffix = (self._cells[i], "") if cells else (self._lstm, f"_l{i}")
                # PyTorch has two biases, which are added.
                values = {"weight_ih": kernel.T, "weight_hh": recurrent.T, "bias_ih": bias, "bias_hh": 0 * bias}
                for name, value in values.items():
                    getattr(owner, name + suffix).copy_(torch.tensor(value))

    def generate(self, num_tokens: int, temperature: float) -> list[int]:
        """Ids drawn from a cold start."""
        torch, drawn = self._torch, []
        with torch.inference_mode():
            token, states = torch.zeros(1, dtype=torch.long), self._cold()
            for _ in range(num_tokens):
                logits, states = self._step(token, states)
                token = torch.multinomial(torch.softmax(logits / temperature, -1), 1)[0]  # (1,)
                drawn.append(token)
            return torch.cat(drawn).tolist()

    def logits(self, tokens: np.ndarray) -> np.ndarray:
        """`(n, vocabulary)`: after each of the tokens, from a cold start."""
        with self._torch.inference_mode():
            states, rows = self._cold(), []
            for token in self._torch.tensor(tokens, dtype=self._torch.long):
                row, states = self._step(token[None], states)
                rows.append(row[0].numpy())
            return np.stack(rows)

    def _cold(self) -> Any:
        if self._lstm is not None:
            return None
        return [
            (self._torch.zeros(1, cell.hidden_size), self._torch.zeros(1, cell.hidden_size)) for cell in self._cells
        ]

    def _step(self, token: Any, states: Any) -> tuple[Any, Any]:
        x = self._embedding(token)  # (1, features)
        if self._lstm is not None:
            x, states = self._lstm(x[:, None], states)
            return self._output(x[:, 0]), states
        after = []
        for cell, state in zip(self._cells, states, strict=True):
            x, c = cell(x, state)
            after.append((x, c))
        return self._output(x), after


class TorchStack:
    """Recurrent layers in PyTorch, one on the other.

    Args:
        cell: "lstm", "gru" (its reset gate after the product) or "simple_rnn".
        weights: Kernel, recurrent kernel and bias of each layer, as Keras holds them.
    """

    def __init__(self, cell: str, weights: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]]):
        import torch

        self._torch, self._cell = torch, cell
        make = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "simple_rnn": torch.nn.RNN}[cell]
        features, units = len(weights[0][0]), len(weights[0][1])
        self._layers = make(features, units, len(weights), batch_first=True)
        with torch.no_grad():
            for i, (kernel, recurrent, bias) in enumerate(weights):
                biases = bias if cell == "gru" else (bias, 0 * bias)  # PyTorch has two, which are added
                values = {"weight_ih": kernel.T, "weight_hh": recurrent.T, "bias_ih": biases[0], "bias_hh": biases[1]}
                for name, value in values.items():
                    order = np.ascontiguousarray(self._swap(value))
                    getattr(self._layers, f"{name}_l{i}").copy_(torch.tensor(order))

    def infer(self, inputs: Any) -> list[Any]:
        """The outputs of the last layer, `(batch, time, units)`."""
        with self._torch.inference_mode():
            return [self._layers(inputs)[0]]

    def train(self, inputs: Any) -> list[Any]:
        """The mean of the squared outputs, and its gradients, in PyTorch's layout."""
        loss = self._layers(inputs)[0].square().mean()
        return [loss, *self._torch.autograd.grad(loss, list(self._layers.parameters()))]

    def arrays(self, found: Sequence[Any]) -> list[np.ndarray]:
        """What `train` returned as arrays in Keras' layout."""
        loss, *gradients = (tensor.detach().numpy() for tensor in found)
        arrays = [loss]
        for i in range(0, len(gradients), 4):
            kernel, recurrent, *biases = (self._swap(gradient) for gradient in gradients[i : i + 4])
            arrays += [kernel.T, recurrent.T, np.stack(biases) if self._cell == "gru" else biases[0]]
        return arrays

    def _swap(self, rows: np.ndarray) -> np.ndarray:
        """From the gate order of Keras to that of PyTorch, or back: z, r, n and r, z, n in the GRU."""
        if self._cell != "gru":
            return rows
        z, r, n = np.split(rows, 3)
        return np.concatenate([r, z, n])
