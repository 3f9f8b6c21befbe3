"""From a step function to text: one loop that reads a prompt and then writes on.

A step takes one token per row and gives the logits of the next:

    step(tokens (batch,) int32, states) -> (logits (batch, vocabulary) float32, states)

Token 0 starts a text and stands for anything unseen; it is read, and never written. The loop has static shapes, so it
runs in a plain graph and under XLA. What it writes depends on the row's prompt, seed and settings only: not on the
other rows, not on padding, and not on how a long text is cut into chunks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import tensorflow as tf

from rnnapps.ops import sampling
from rnnapps.ops.random import uniform

if TYPE_CHECKING:
    import keras

States = dict[str, tf.Tensor]
Step = Callable[[tf.Tensor, States], tuple[tf.Tensor, States]]


class Settings(NamedTuple):
    """How symbols are drawn, one value per row `(batch,)`.

    A filter that is None is left out of the graph and costs nothing; one whose value switches it off in every row (0, 1
    or as said below) gives the same text and still costs its time, for `top_k` and `top_p` a sort per token.

    Attributes:
        temperature: float32. The logits are divided by it; 0 is the greedy choice.
        top_k: int32 or None. Keeps the k most probable symbols; 0 is off.
        top_p: float32 or None. Keeps the nucleus of that probability; 1 is off.
        min_p: float32 or None. Keeps symbols at least that many times as probable as the best one; 0 is off.
        repetition_penalty: float32 or None. Makes symbols of the prompt and of the text so far less probable; 1 is off.
    """

    temperature: tf.Tensor
    top_k: tf.Tensor | None = None
    top_p: tf.Tensor | None = None
    min_p: tf.Tensor | None = None
    repetition_penalty: tf.Tensor | None = None


class Carry(NamedTuple):
    """Where a batch of texts stands; all that the next chunk needs.

    Attributes:
        token: `(batch,)` int32: the next token to be read.
        states: Name to `(batch, units)`: after all tokens read so far.
        seed: `(batch,)` int32.
        generated: `(batch,)` int32: how many tokens were drawn so far, the index of the next random numbers.
        seen: `(batch, vocabulary - 1)` bool: symbols 1, 2, ... of the text so far; `(batch, 0)` without a penalty.
    """

    token: tf.Tensor
    states: States
    seed: tf.Tensor
    generated: tf.Tensor
    seen: tf.Tensor


def start(states: States, seed: tf.Tensor, seen_symbols: int = 0) -> Carry:
    """Returns the carry of texts that begin: token 0 is read first.

    Args:
        states: Name to `(batch, units)`; zeros are a cold start.
        seed: `(batch,)` int32.
        seen_symbols: The vocabulary size less 1 where the settings have a repetition penalty, else 0.
    """
    nothing = tf.zeros_like(seed)
    seen = tf.zeros(tf.stack([tf.shape(seed)[0], seen_symbols]), tf.bool)
    seen = tf.ensure_shape(seen, (None, seen_symbols))
    return Carry(token=nothing, states=states, seed=seed, generated=nothing, seen=seen)


def generate(
    step: Step,
    carry: Carry,
    settings: Settings,
    forced: tf.Tensor,
    num_forced: tf.Tensor,
    steps: tf.Tensor,
    end: int | None = None,
) -> tuple[tf.Tensor, Carry]:
    """Runs the step `steps` times; each row first takes its forced tokens (the prompt), then draws.

    Called again with the returned carry, it writes on as if there had been one call.

    Args:
        step: The model, one token at a time.
        carry: From `start`, or from the call before.
        settings: How to draw.
        forced: `(batch, capacity)` int32: each row's prompt, padded on the right with anything.
        num_forced: `(batch,)` int32: the length of each row's prompt, 0 to `capacity`.
        steps: Scalar int32, 1 to `capacity`: prompt tokens and drawn tokens together.
        end: A row that drew this token writes only 0 afterwards, in later calls too, until tokens are forced on it. The
            loop ends early when all rows have ended. In a prompt the token ends nothing. None: no token ends a row.

    Returns:
        Tokens `(batch, capacity)` int32, of which the first `steps` columns count: the prompt, then what was drawn; and
        the carry after them. The states of a row that has ended mean nothing.
    """
    columns = tf.transpose(forced)  # (capacity, batch): a step reads one row of memory
    written = tf.TensorArray(tf.int32, size=tf.shape(columns)[0], element_shape=forced.shape[:1])

    def body(i: tf.Tensor, carry: Carry, written: tf.TensorArray) -> tuple[tf.Tensor, Carry, tf.TensorArray]:
        logits, states = step(carry.token, carry.states)
        is_forced = i < num_forced
        drawn = _draw(logits, carry, settings)
        is_drawn = ~is_forced
        if end is not None:
            ended = _has_ended(carry, end)
            drawn = tf.where(ended, 0, drawn)
            is_drawn &= ~ended
        token = tf.where(is_forced, columns[i], drawn)
        after = Carry(
            token=token,
            states=states,
            seed=carry.seed,
            generated=carry.generated + tf.cast(is_drawn, tf.int32),
            seen=_mark_seen(carry.seen, token),
        )
        return i + 1, after, written.write(i, token)

    def goes_on(i: tf.Tensor, carry: Carry, written: tf.TensorArray) -> tf.Tensor:
        if end is None:
            return i < steps
        return (i < steps) & tf.reduce_any((i < num_forced) | ~_has_ended(carry, end))

    _, carry, written = tf.while_loop(goes_on, body, (tf.constant(0), carry, written))
    return tf.transpose(written.stack()), carry


def _has_ended(carry: Carry, end: int) -> tf.Tensor:
    """Whether each row has drawn `end`, `(batch,)` bool: 0 is never drawn, so it tells of an end further back."""
    return (carry.generated > 0) & ((carry.token == end) | (carry.token == 0))


def _draw(logits: tf.Tensor, carry: Carry, settings: Settings) -> tf.Tensor:
    """Draws the next token of each row, `(batch,)` int32, never 0."""
    logits = logits[:, 1:]  # the symbols: token 0 cannot be drawn
    if settings.repetition_penalty is not None:
        logits = sampling.repetition_penalty(logits, carry.seen, settings.repetition_penalty)
    logits = sampling.scale(logits, settings.temperature)
    if settings.top_k is not None:
        logits = sampling.top_k(logits, settings.top_k)
    if settings.top_p is not None:
        logits = sampling.top_p(logits, settings.top_p)
    if settings.min_p is not None:
        logits = sampling.min_p(logits, settings.min_p)
    # The logits are scaled already: what is left of the temperature is whether there is noise at all.
    noisy = tf.cast(settings.temperature > 0, tf.float32)
    return sampling.draw(logits, noisy, uniform(carry.seed, carry.generated, logits.shape[-1])) + 1


def _mark_seen(seen: tf.Tensor, token: tf.Tensor) -> tf.Tensor:
    symbols = seen.shape[-1]
    if symbols == 0:
        return seen
    return seen | tf.one_hot(token - 1, symbols, on_value=True, off_value=False)  # token 0 marks nothing


def follow(
    step: Step, states: States, inputs: tf.Tensor, targets: tf.Tensor, record: Sequence[str] = ()
) -> tuple[States, States, tf.Tensor]:
    """Reads given tokens, and keeps states and the cost of what came next.

    Args:
        step: The model, one token at a time.
        states: Name to `(batch, units)`, before the first input.
        inputs: `(batch, steps)` int32: the tokens read.
        targets: `(batch, steps)` int32: the token that follows each input.
        record: Names of the states to keep.

    Returns:
        The last states; name to `(batch, steps, units)`, the recorded states after each input; and `(batch, steps)`
        float32, `-log p(target)` at each step in nats.
    """
    inputs, targets = tf.transpose(inputs), tf.transpose(targets)  # (steps, batch)
    size = tf.shape(inputs)[0]
    kept = {name: tf.TensorArray(states[name].dtype, size, element_shape=states[name].shape) for name in record}
    nats = tf.TensorArray(tf.float32, size, element_shape=inputs.shape[1:])

    def body(i: tf.Tensor, states: States, kept: dict, nats: tf.TensorArray) -> tuple:
        logits, states = step(inputs[i], states)
        cost = tf.nn.sparse_softmax_cross_entropy_with_logits(targets[i], logits)
        kept = {name: array.write(i, states[name]) for name, array in kept.items()}
        return i + 1, states, kept, nats.write(i, cost)

    loop = (tf.constant(0), states, kept, nats)
    _, states, kept, nats = tf.while_loop(lambda i, *_: i < size, body, loop)
    recorded = {name: tf.transpose(array.stack(), (1, 0, 2)) for name, array in kept.items()}
    return states, recorded, tf.transpose(nats.stack())


def model_step(model: keras.Model) -> Step:
    """Returns the step of a text model: a functional model of whole sequences, run on one token.

    Args:
        model: Inputs `tokens` `(batch, time)` and states by name; outputs `logits` `(batch, time, vocabulary)` and the
            same states.
    """

    def step(tokens: tf.Tensor, states: States) -> tuple[tf.Tensor, States]:
        outputs = model({"tokens": tokens[:, None], **states}, training=False)
        states = {name: tf.cast(outputs[name], state.dtype) for name, state in states.items()}
        return tf.cast(outputs["logits"][:, 0], tf.float32), states

    return step


def zero_states(model: keras.Model, batch_size: int | tf.Tensor) -> States:
    """Returns the cold start of a text model: zeros, name to `(batch, units)`, in the dtype of each state input."""
    inputs = {name: tensor for name, tensor in model.input.items() if name != "tokens"}
    return {name: tf.zeros((batch_size, tensor.shape[-1]), tensor.dtype) for name, tensor in inputs.items()}
