"""Text from a trained model, on the host: as it is written, for any prompt length, with one compiled function."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from rnnapps import decoding
from rnnapps.data.vocabulary import Vocabulary
from rnnapps.decoding import Carry, Settings, States, Step
from rnnapps.errors import UsageError


@dataclass(frozen=True)
class Sampling:
    """How a text is written.

    Attributes:
        temperature: 1 draws from the model's distribution, less is safer, 0 always takes the most probable token.
        top_k: Draw among the k most probable tokens; 0 is off.
        top_p: Draw among the most probable tokens that reach this probability together; 1 is off.
        min_p: Draw among tokens at least this many times as probable as the best one; 0 is off.
        repetition_penalty: Above 1 makes tokens of the prompt and of the text so far less probable; 1 is off.
        stop: The text ends before the first of these strings. They are not looked for in the prompt.
        num_samples: How many texts are written side by side; number i uses `seed + i`.
        seed: The same seed gives the same text.

    Raises:
        UsageError: A value is out of range.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    stop: tuple[str, ...] = ()
    num_samples: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        checks = (
            ("temperature", 0 <= self.temperature < math.inf, "0 or more"),
            ("top_k", self.top_k >= 0, "0 or more"),
            ("top_p", 0 < self.top_p <= 1, "above 0 and at most 1"),
            ("min_p", 0 <= self.min_p <= 1, "0 to 1"),
            ("repetition_penalty", 0 < self.repetition_penalty < math.inf, "above 0"),
            ("stop", "" not in self.stop, "strings that are not empty"),
            ("num_samples", self.num_samples >= 1, "1 or more"),
        )
        for name, good, wanted in checks:
            if not good:
                raise UsageError(f"{name} must be {wanted}, not {getattr(self, name)!r}")


class Trace(NamedTuple):
    """What a model did while it read a text of n tokens.

    Attributes:
        tokens: `(n,)` int32: ids of the text.
        states: Name to `(n, units)` float32: row i is the state after token i was read.
        nats: `(n,)` float32: `-log p(token i | those before it)`, the first from a cold start.
    """

    tokens: np.ndarray
    states: dict[str, np.ndarray]
    nats: np.ndarray


class Sampler:
    """Writes and reads text with a step function, in calls of fixed shape, so that nothing is compiled twice.

    A call runs a compiled loop over up to `chunk` tokens, which takes what is left of the prompt and draws the rest, so
    prompts and texts of every length share it. A new number of samples, or another set of filters in use, compiles
    once more. The text does not depend on how it is cut into calls; a call costs as much as some 50 tokens of a small
    model, so they are long where nobody waits for the pieces.

    Args:
        step: The model, one token at a time (see `decoding`).
        initial_states: From a batch size to the states of a cold start.
        vocabulary: Between text and ids.
        chunk: The most tokens of one call.
        piece: Tokens of one call that streams, that looks for stop strings, or that reads. At most `chunk`.
        jit_compile: Whether XLA compiles the loop.
    """

    def __init__(
        self,
        step: Step,
        initial_states: Callable[[int], States],
        vocabulary: Vocabulary,
        chunk: int = 1024,
        piece: int = 128,
        jit_compile: bool = True,
    ):
        self.step = step
        self.initial_states = initial_states
        self.vocabulary = vocabulary
        self.chunk = chunk
        self.piece = min(piece, chunk)
        self._generate = tf.function(self._run_generate, jit_compile=jit_compile)
        self._follow = tf.function(self._run_follow, jit_compile=jit_compile)

    def stream(
        self, prompt: str | bytes, num_tokens: int, sampling: Sampling | None = None
    ) -> Iterator[tuple[str, ...]]:
        """Writes on after a prompt.

        A text ends after `num_tokens` tokens or before a stop string, and no part of a stop string is ever given out.

        Args:
            prompt: What the model reads first; empty is a cold start. It is not part of what is given out.
            num_tokens: How many tokens each text gets at most (characters, bytes or words, as the vocabulary counts).
            sampling: How. Default: `Sampling()`.

        Returns:
            An iterator over the next pieces, a tuple with one per sample, at least one of them not empty. Joined they
            are the texts.
        """
        return self._pieces(prompt, num_tokens, sampling or Sampling(), self.piece)

    def _pieces(
        self, prompt: str | bytes, num_tokens: int, sampling: Sampling, piece: int
    ) -> Iterator[tuple[str, ...]]:
        """As `stream`, with `piece` tokens a call."""
        writers = [_Writer(self.vocabulary, sampling.stop) for _ in range(sampling.num_samples)]
        for tokens in self._calls(self.vocabulary.encode(prompt), num_tokens, sampling, piece):
            pieces = tuple(writer.push(row) for writer, row in zip(writers, tokens, strict=True))
            if any(pieces):
                yield pieces
            if all(writer.stopped for writer in writers):
                return
        pieces = tuple(writer.finish() for writer in writers)
        if any(pieces):
            yield pieces

    def generate(self, prompt: str | bytes, num_tokens: int, sampling: Sampling | None = None) -> list[str]:
        """Returns whole texts, one per sample: the joined pieces of `stream`."""
        sampling = sampling or Sampling()
        texts = [""] * sampling.num_samples
        for pieces in self._pieces(prompt, num_tokens, sampling, self.piece if sampling.stop else self.chunk):
            texts = [text + piece for text, piece in zip(texts, pieces, strict=True)]
        return texts

    def trace(self, text: str | bytes, names: Sequence[str] | None = None) -> Trace:
        """Reads a text and returns the model's states and the cost of every token.

        Args:
            text: The text.
            names: Which states to return. Default: all.

        Raises:
            UsageError: A name is not that of a state.
        """
        tokens = self.vocabulary.encode(text)
        states = self.initial_states(1)
        names = tuple(states) if names is None else tuple(names)
        unknown = [name for name in names if name not in states]
        if unknown:
            raise UsageError(f"the model has no state {unknown[0]!r}, only {', '.join(states)}")
        # Input 0 costs the first token; the state that belongs to a token comes one step later, when it has been read.
        inputs, targets = np.append(0, tokens), np.append(tokens, 0)
        recorded: dict[str, list[np.ndarray]] = {name: [] for name in names}
        costs = []
        for first in range(0, len(inputs), self.piece):
            window = slice(first, first + self.piece)
            read, next_ones = (_padded(ids[window], 1, self.piece) for ids in (inputs, targets))
            states, kept, nats = self._follow(states, read, next_ones, names)
            costs.append(nats[0].numpy())
            for name in names:
                recorded[name].append(kept[name][0].numpy().astype(np.float32))
        n = len(tokens)
        rows = {name: np.concatenate(parts)[1 : n + 1] for name, parts in recorded.items()}
        return Trace(tokens, rows, np.concatenate(costs)[:n])

    def _calls(self, prompt: np.ndarray, num_tokens: int, sampling: Sampling, piece: int) -> Iterator[np.ndarray]:
        """Yields drawn ids `(num_samples, up to piece)`, without the prompt."""
        batch = sampling.num_samples
        settings = _settings(sampling)
        # Any integer is a seed; the generator takes 32 bits of it.
        seed = np.array([(sampling.seed + i) % 2**32 for i in range(batch)], np.uint32).view(np.int32)
        seen_symbols = 0 if settings.repetition_penalty is None else self.vocabulary.size - 1
        carry = decoding.start(self.initial_states(batch), tf.constant(seed), seen_symbols)
        total = len(prompt) + num_tokens if num_tokens > 0 else 0
        for first in range(0, total, piece):
            forced = prompt[first : first + piece]
            steps = min(piece, total - first)
            tokens, carry = self._generate(
                carry,
                settings,
                _padded(forced, batch, self.chunk),
                tf.constant(np.full(batch, len(forced), np.int32)),
                tf.constant(steps),
            )
            yield tokens.numpy()[:, len(forced) : steps]

    def _run_generate(
        self, carry: Carry, settings: Settings, forced: tf.Tensor, num_forced: tf.Tensor, steps: tf.Tensor
    ) -> tuple[tf.Tensor, Carry]:
        return decoding.generate(self.step, carry, settings, forced, num_forced, steps)

    def _run_follow(self, states: States, inputs: tf.Tensor, targets: tf.Tensor, names: tuple[str, ...]) -> tuple:
        return decoding.follow(self.step, states, inputs, targets, names)


def _padded(ids: np.ndarray, batch: int, size: int) -> tf.Tensor:
    """`(batch, size)` int32, the same in every row."""
    rows = np.zeros((batch, size), np.int32)
    rows[:, : len(ids)] = ids
    return tf.constant(rows)


def _settings(sampling: Sampling) -> Settings:
    """One row per sample; a filter that is off becomes None."""

    def rows(value: float, off: float | None, dtype: tf.DType) -> tf.Tensor | None:
        return None if value == off else tf.fill((sampling.num_samples,), tf.constant(value, dtype))

    return Settings(
        temperature=rows(sampling.temperature, None, tf.float32),
        top_k=rows(sampling.top_k, 0, tf.int32),
        top_p=rows(sampling.top_p, 1, tf.float32),
        min_p=rows(sampling.min_p, 0, tf.float32),
        repetition_penalty=rows(sampling.repetition_penalty, 1, tf.float32),
    )


class _Writer:
    """One text: from ids to pieces that may be shown, up to a stop string."""

    def __init__(self, vocabulary: Vocabulary, stop: Sequence[str]):
        self._decoder = vocabulary.stream()
        self._stop = stop
        self._held = ""  # may be the beginning of a stop string
        self.stopped = False

    def push(self, ids: np.ndarray) -> str:
        """Takes more ids; returns the text that is certain now."""
        return "" if self.stopped else self._certain(self._decoder.push(ids))

    def finish(self) -> str:
        """Returns what was held back, since nothing follows."""
        if self.stopped:
            return ""
        text = self._certain(self._decoder.finish())
        return text if self.stopped else text + self._held

    def _certain(self, more: str) -> str:
        text = self._held + more
        found = [(text.find(stop) + len(stop), text.find(stop)) for stop in self._stop if stop in text]
        if found:
            # The stop string that was complete first ends the text, so the answer does not depend on the pieces.
            self.stopped = True
            return text[: min(found)[1]]
        held = max((_overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop`, short of all of it."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)
