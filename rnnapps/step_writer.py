"""Text from the `step` endpoint of an exported text model: the client keeps the state and draws, in NumPy.

The numbers are those of `ops.random`, `ops.sampling` and `decoding.writing`, so that a seed gives the text that
`serving_default` gives. Neither TensorFlow nor a server is needed here: who uses `StepWriter` sends its requests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rnnapps.data.vocabulary import Vocabulary
from rnnapps.errors import UsageError

MAX_CHARS = 65_536  # as in `serving.text_endpoints`
_BITS = 23


class StepWriter:
    """One text, token by token, without input or output of its own.

        while (inputs := writer.inputs()) is not None:
            piece = writer.take(answer of `step` to inputs)

    Args:
        vocabulary: Between text and ids, from the export's `manifest.json`.
        states: Name to shape of the states of `step`, `(1, units)`; other inputs than `tokens` are states.
        prompt: What is read first.
        num_chars: Tokens to write, 0 to `MAX_CHARS`.
        temperature: The logits are divided by it; 0 always takes the most probable token.
        seed: 32 bits of it count.

    Raises:
        UsageError: `num_chars` is out of range, or `temperature` is no finite number.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        states: Mapping[str, Sequence[int]],
        prompt: str | bytes = "",
        num_chars: int = 100,
        temperature: float = 1.0,
        seed: int = 0,
    ):
        if not 0 <= num_chars <= MAX_CHARS:
            raise UsageError(f"num_chars must be 0 to {MAX_CHARS}, not {num_chars}")
        if not np.isfinite(np.float32(temperature)):
            raise UsageError(f"temperature must be a finite number, not {temperature}")
        self._decoder = vocabulary.stream()
        self._forced = vocabulary.encode(prompt)
        self._read = 0  # of the prompt
        self._token = 0  # the start of a text
        self._states = {name: np.zeros(tuple(shape), np.float32) for name, shape in states.items()}
        self._temperature, self._seed = temperature, seed
        self.num_chars, self.written = num_chars, 0

    def inputs(self) -> dict[str, np.ndarray] | None:
        """What to ask `step` next, or None when the text is complete."""
        if self.written >= self.num_chars:
            return None
        return {"tokens": np.array([self._token], np.int32), **self._states}

    def take(self, outputs: Mapping[str, np.ndarray]) -> str:
        """Takes the answer; returns the text that is complete with it, "" while the prompt is read."""
        self._states = {name: outputs[name] for name in self._states}
        if self._read < len(self._forced):
            self._token = int(self._forced[self._read])
            self._read += 1
            return ""
        self._token = draw(outputs["logits"][0], self._temperature, self._seed, self.written)
        self.written += 1
        piece = self._decoder.push([self._token])
        # A character that the last token has cut in two is shown as far as it goes, as `serving_default` shows it.
        return piece + self._decoder.finish() if self.written == self.num_chars else piece


def draw(logits: np.ndarray, temperature: float, seed: int, step: int) -> int:
    """Draws the next token, never 0, as `decoding.writing` does: the filters are off.

    Args:
        logits: `(vocabulary,)` float32.
        temperature: 0 or less takes the most probable token.
        seed: Any integer; 32 bits of it count.
        step: Index of the draw in the text.
    """
    symbols = logits[1:]
    divisor = np.float32(temperature if temperature > 0 else 1.0)
    scaled = (symbols - symbols.max()) / divisor
    if temperature > 0:
        scaled = scaled - np.log(-np.log(uniform(seed, step, len(symbols))))
    return int(np.argmax(scaled)) + 1


def uniform(seed: int, step: int, n: int) -> np.ndarray:
    """The numbers of `ops.random.uniform` for one row, `(n,)` float32."""
    row = _mix(np.array([(seed + 0x9E3779B9) % 2**32], np.uint32))
    row = _mix(row + np.array([step * 0x85EBCA6B % 2**32], np.uint32))
    position = np.arange(n, dtype=np.uint32) * np.uint32(0xC2B2AE35)
    bits = _mix(_mix(row + position)) >> np.uint32(32 - _BITS)
    return (bits.astype(np.float32) + np.float32(0.5)) * np.float32(0.5**_BITS)


def _mix(x: np.ndarray) -> np.ndarray:
    """One round of the `lowbias32` hash, as in `ops.random`."""
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B)
    return x ^ (x >> np.uint32(16))
