"""Beam search for the most probable sentences, batched, in stock TensorFlow operations.

    step(tokens (rows,) int32, states) -> (logits (rows, vocabulary) float32, states)

Of the tokens, 0 starts a sentence and pads it, and is never written; END ends a sentence; UNSEEN stands for words that
the vocabulary lacks; symbols follow. The probabilities are those of the whole vocabulary: what may not be written is
left out, and the rest is not renormalised.

`rows` is `batch * beam`: row `i * beam + j` is beam `j` of sentence `i`. States are reordered at every step. What does
not change from step to step, such as the memory that attention reads, is no state: the step closes over it with one row
per sentence, and folds its rows into `(batch, beam)` to read it:

    query = tf.reshape(query, (-1, options.beam, units))
    scores = tf.einsum("bqu,bmu->bqm", query, memory)

The loop has static shapes, so it runs in a plain graph, in a SavedModel and under XLA. Sentences of a batch do not
influence each other, and of equals the lower beam and the lower token come first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import tensorflow as tf

from rnnapps.decoding.candidates import MINUS_INFINITY, largest, without_repeats
from rnnapps.decoding.hypotheses import END, UNSEEN, Alive, Branches, Finished, best, choose, finish, go_on, length_norm
from rnnapps.decoding.writing import States, Step
from rnnapps.errors import UsageError

# A forced token of probability 0 counts as e^-10,000: what follows it still has an order.
_LEAST_FORCED = -1e4


@dataclass(frozen=True)
class Search:
    """How a sentence is searched.

    A finished hypothesis Y, END included in its length |Y|, has the score

        log p(Y) / ((5 + |Y|) / 6)^length_penalty + coverage_penalty * sum_i log(min(sum_t a_ti, 1))

    with the attention weights a of its steps t on the places i of the memory (Wu et al., 2016,
    https://arxiv.org/abs/1609.08144).

    Attributes:
        beam: Hypotheses alive at a time, all groups together. 1 is greedy: the first END ends the sentence.
        max_length: The most tokens that are written, END included: at most `max_length - 1` symbols and END, or
            `max_length` symbols of a sentence that was cut.
        min_length: The fewest symbols before END.
        length_penalty: 0 compares by log p; larger values favour longer sentences.
        coverage_penalty: Above 0, hypotheses that read all of the memory are favoured. Needs a state "alignment"
            `(rows, memory)` that holds the attention weights of the last step.
        no_repeat_ngram: No n-gram of this length is written twice; 0 is off (Paulus et al., 2017,
            https://arxiv.org/abs/1705.04304).
        groups: Into how many groups the beams are divided. A group is a search of its own, in which tokens that earlier
            groups write at the same step are less welcome (Vijayakumar et al., 2016,
            https://arxiv.org/abs/1610.02424).
        diversity: What each such beam of an earlier group takes off a token's log p when candidates are compared. It
            is in no score.
        num_best: Hypotheses returned per sentence.
        block_unseen: Whether UNSEEN is never written.

    Raises:
        UsageError: A value is out of its range.
    """

    beam: int = 5
    max_length: int = 100
    min_length: int = 0
    length_penalty: float = 1.0
    coverage_penalty: float = 0.0
    no_repeat_ngram: int = 0
    groups: int = 1
    diversity: float = 0.0
    num_best: int = 1
    block_unseen: bool = False

    def __post_init__(self) -> None:
        for name, least in (("beam", 1), ("max_length", 1), ("no_repeat_ngram", 0)):
            value = getattr(self, name)
            if value < least:
                raise UsageError(f"{name} {value}: wanted {least} or more")
        for name in ("length_penalty", "coverage_penalty", "diversity"):
            value = getattr(self, name)
            if not (0 <= value < math.inf):
                raise UsageError(f"{name} {value}: wanted a finite number, 0 or more")
        if not 0 <= self.min_length < self.max_length:
            raise UsageError(f"min_length {self.min_length}: wanted 0 to {self.max_length - 1}, below max_length")
        if not 1 <= self.num_best <= self.beam:
            raise UsageError(f"num_best {self.num_best}: wanted 1 to {self.beam}, the beam")
        if self.groups < 1 or self.beam % self.groups:
            raise UsageError(f"groups {self.groups}: wanted a divisor of {self.beam}, the beam")
        if (self.groups > 1) != (self.diversity > 0):
            wanted = "above 0 with groups" if self.groups > 1 else "0 without groups"
            raise UsageError(f"diversity {self.diversity} with groups {self.groups}: wanted {wanted}")

    @property
    def width(self) -> int:
        """The beams of a group."""
        return self.beam // self.groups


class Found(NamedTuple):
    """The best hypotheses of each sentence, the best first.

    Sentences that were cut at their longest come after all that ended, and only where those are too few. If there
    are too few of both, what is missing has length 0 and log p and score of minus infinity.

    Attributes:
        tokens: `(batch, num_best, max_length)` int32: symbols, END, then 0. One that was cut has no END.
        lengths: `(batch, num_best)` int32: symbols, without END.
        log_probs: `(batch, num_best)` float32: log p of all tokens, END included, in nats.
        scores: `(batch, num_best)` float32: with the penalties of `Search`.
    """

    tokens: tf.Tensor
    lengths: tf.Tensor
    log_probs: tf.Tensor
    scores: tf.Tensor


class _Task(NamedTuple):
    """What stays the same through a search: `limits` and `num_forced` `(batch,)`, `forced` `(batch, max_length)`."""

    options: Search
    limits: tf.Tensor
    forced: tf.Tensor | None
    num_forced: tf.Tensor | None
    memory_mask: tf.Tensor | None


def beam_search(
    step: Step,
    states: States,
    options: Search,
    forced: tf.Tensor | None = None,
    num_forced: tf.Tensor | None = None,
    max_lengths: tf.Tensor | None = None,
    memory_mask: tf.Tensor | None = None,
) -> Found:
    """Searches each sentence's most probable hypotheses.

    At every step the best `2 * beam` continuations by log p are looked at. Those among the best `beam` that end are
    finished and compete by score; the best `beam` that do not end stay alive. The search of a sentence stops when no
    hypothesis alive can overtake the `num_best` best finished ones any more, whatever it writes.

    Args:
        step: The model, one token at a time, for `batch * beam` rows.
        states: Name to `(batch, ...)`, at least one: before token 0 is read. Each gets `beam` rows per sentence.
        options: How to search.
        forced: `(batch, columns)` int32: how each sentence begins, whatever its probability, which counts. END in it
            ends the sentence.
        num_forced: `(batch,)` int32: how many of the tokens are forced, 0 to `columns`; the others may be anything.
            None: all.
        max_lengths: `(batch,)` int32: a `max_length` for each sentence, at most that of the options.
        memory_mask: `(batch, memory)` bool: the places of the memory that are not padding, for the coverage penalty.
            None: all.

    Raises:
        UsageError: There is a coverage penalty and no state "alignment".
    """
    if options.coverage_penalty and "alignment" not in states:
        names = ", ".join(states)
        raise UsageError(f"coverage_penalty {options.coverage_penalty} with states {names}: wanted a state 'alignment'")
    batch = tf.shape(next(iter(states.values())))[0]
    task = _task(options, batch, forced, num_forced, max_lengths, memory_mask)
    rows = tf.range(batch * options.beam)
    states = {name: tf.gather(value, rows // options.beam) for name, value in states.items()}
    coverage = tf.zeros_like(states["alignment"]) if options.coverage_penalty else tf.zeros((batch * options.beam, 0))
    alive = Alive.start(batch, options.groups, options.width, options.max_length)
    finished = Finished.start(batch, options.groups, min(options.num_best, options.width), options.max_length)

    def body(i: tf.Tensor, states: States, coverage: tf.Tensor, alive: Alive, finished: Finished) -> tuple:
        last = tf.where(i > 0, alive.tokens[..., tf.maximum(i - 1, 0)], 0)
        logits, after = step(tf.reshape(last, (-1,)), states)
        running = i < task.limits
        ids, log_probs = _continuations(task, i, logits, alive)
        log_probs = tf.where(running[:, None, None, None], log_probs, MINUS_INFINITY)
        ended, going = choose(ids, log_probs, options.diversity)
        if options.coverage_penalty:
            coverage += tf.where(tf.repeat(running, options.beam)[:, None], after["alignment"], 0.0)
        covered = _coverage_penalty(task, coverage)
        finished = finish(finished, alive, ended, i, options.length_penalty, covered)
        alive, going = go_on(alive, going, i, running)
        alive = _without_hope(task, alive, finished)
        chosen = _row_index(going)
        states = {name: _reordered(after[name], chosen, value) for name, value in states.items()}
        return i + 1, states, _reordered(coverage, chosen, coverage), alive, finished

    def goes_on(i: tf.Tensor, states: States, coverage: tf.Tensor, alive: Alive, finished: Finished) -> tf.Tensor:
        running = (i < task.limits)[:, None, None] & (alive.log_probs > MINUS_INFINITY)
        return (i < options.max_length) & tf.reduce_any(running)

    loop = (tf.constant(0), states, coverage, alive, finished)
    _, _, coverage, alive, finished = tf.while_loop(goes_on, body, loop)
    covered = _coverage_penalty(task, coverage)
    tokens, log_probs, scores = best(finished, alive, task.limits, options.length_penalty, covered, options.num_best)
    return Found(tokens, tf.reduce_sum(tf.cast(tokens > END, tf.int32), axis=-1), log_probs, scores)


def _task(
    options: Search,
    batch: tf.Tensor,
    forced: tf.Tensor | None,
    num_forced: tf.Tensor | None,
    max_lengths: tf.Tensor | None,
    memory_mask: tf.Tensor | None,
) -> _Task:
    longest = options.max_length
    if max_lengths is None:
        max_lengths = tf.fill((batch,), longest)
    if forced is not None:
        forced = tf.convert_to_tensor(forced)[:, :longest]
        if num_forced is None:
            num_forced = tf.fill((batch,), tf.shape(forced)[1])
        forced = tf.pad(forced, [[0, 0], [0, longest - tf.shape(forced)[1]]])
        # What is not forced may be anything; the logit of it is looked up all the same.
        forced = tf.where(tf.range(longest) < num_forced[:, None], forced, 0)
    if memory_mask is not None:
        memory_mask = tf.repeat(memory_mask, options.beam, axis=0)
    return _Task(options, tf.clip_by_value(max_lengths, 0, longest), forced, num_forced, memory_mask)


def _continuations(task: _Task, i: tf.Tensor, logits: tf.Tensor, alive: Alive) -> tuple[tf.Tensor, tf.Tensor]:
    """The best next tokens of each beam and log p of the hypotheses with them, `(batch, groups, width, count)`."""
    options = task.options
    normalizer = tf.reduce_logsumexp(logits, axis=-1, keepdims=True)
    allowed = logits
    if options.no_repeat_ngram:
        written = tf.reshape(alive.tokens, (-1, options.max_length))
        allowed = without_repeats(logits, written, i, options.no_repeat_ngram)
    # Some of them fall away: two for the tokens that may not be written, END at first, those of earlier groups.
    count = 2 * options.width + 3 + (options.beam - options.width)
    values, ids = largest(allowed, min(count, logits.shape[-1]))
    banned = (ids == 0) | ((ids == END) & (i < options.min_length))
    if options.block_unseen:
        banned |= ids == UNSEEN
    log_probs = tf.where(banned | (values == MINUS_INFINITY), MINUS_INFINITY, _log_prob(values, normalizer))
    if task.forced is not None:
        wanted = tf.repeat(task.forced[:, i], options.beam)[:, None]
        is_forced = tf.repeat(i < task.num_forced, options.beam)[:, None]
        log_prob = _log_prob(tf.gather(logits, wanted, batch_dims=1), normalizer)
        first = (tf.range(ids.shape[-1]) == 0)[None]
        alone = tf.where(first, tf.maximum(log_prob, _LEAST_FORCED), MINUS_INFINITY)
        ids, log_probs = tf.where(is_forced, wanted, ids), tf.where(is_forced, alone, log_probs)
    shape = (-1, options.groups, options.width, ids.shape[-1])
    before = alive.log_probs[..., None]
    log_probs = tf.where(before > MINUS_INFINITY, before + tf.reshape(log_probs, shape), MINUS_INFINITY)
    return tf.reshape(ids, shape), log_probs


def _log_prob(logits: tf.Tensor, normalizer: tf.Tensor) -> tf.Tensor:
    # Rounding could give more than 0, and a hypothesis could then overtake what it may not.
    return tf.minimum(logits - normalizer, 0.0)


def _coverage_penalty(task: _Task, coverage: tf.Tensor) -> tf.Tensor:
    """The coverage penalty of each beam, `(batch, groups, width)`; 0 where there is none."""
    options = task.options
    if not options.coverage_penalty:
        return tf.zeros(())
    # A place that was never read takes off much, and not infinitely much.
    logs = tf.math.log(tf.clip_by_value(coverage, 1e-30, 1.0))
    if task.memory_mask is not None:
        logs = tf.where(task.memory_mask, logs, 0.0)
    total = options.coverage_penalty * tf.reduce_sum(logs, axis=-1)
    return tf.reshape(total, (-1, options.groups, options.width))


def _without_hope(task: _Task, alive: Alive, finished: Finished) -> Alive:
    """Lets hypotheses die that can change no result.

    log p only falls, the norm of the length is largest at the end, and no coverage penalty is above 0: with them as
    they are best, an upper bound of a score.
    """
    options = task.options
    highest = tf.reduce_max(alive.log_probs, axis=-1)
    bound = highest / length_norm(task.limits, options.length_penalty)[:, None]
    # All groups together: what one writes counts in the choices of the others to the end.
    done = tf.reduce_all(bound <= finished.scores[..., -1], axis=-1)[:, None, None]
    if options.width == 1:
        done |= finished.scores[..., :1] > MINUS_INFINITY
    return alive._replace(log_probs=tf.where(done, MINUS_INFINITY, alive.log_probs))


def _row_index(going: Branches) -> tf.Tensor:
    """The row that each row of the next step continues, `(rows,)`."""
    width = going.parents.shape[-1]
    rows = tf.range(tf.size(going.parents))
    return rows // width * width + tf.reshape(going.parents, (-1,))


def _reordered(value: tf.Tensor, chosen: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    # A loop keeps what is known of a shape, and a step may know less of it.
    return tf.ensure_shape(tf.gather(value, chosen), like.shape)
