"""The hypotheses of a beam search: those alive, those finished, and how one becomes the other.

All have shapes `(batch, groups, width, ...)`: sentences, groups of beams, beams of a group. A hypothesis whose log p is
minus infinity is none: a free place. Those of a group are alive in the order in which they were chosen, finished in the
order of their scores.
"""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf

from rnnapps.decoding.candidates import MINUS_INFINITY

END = 1
UNSEEN = 2


class Alive(NamedTuple):
    """Hypotheses that have not ended.

    Attributes:
        tokens: `(batch, groups, width, max_length)` int32, 0 where nothing is written yet.
        log_probs: `(batch, groups, width)` float32.
    """

    tokens: tf.Tensor
    log_probs: tf.Tensor

    @classmethod
    def start(cls, batch: tf.Tensor, groups: int, width: int, max_length: int) -> Alive:
        """One empty hypothesis in each group."""
        first = tf.where(tf.range(width) == 0, 0.0, MINUS_INFINITY)
        return cls(_no_tokens(batch, groups, width, max_length), tf.tile(first[None, None], (batch, groups, 1)))


class Finished(NamedTuple):
    """Hypotheses that end with END, the best of each group.

    Attributes:
        tokens: `(batch, groups, kept, max_length)` int32.
        log_probs, scores: `(batch, groups, kept)` float32; the scores fall.
    """

    tokens: tf.Tensor
    log_probs: tf.Tensor
    scores: tf.Tensor

    @classmethod
    def start(cls, batch: tf.Tensor, groups: int, kept: int, max_length: int) -> Finished:
        """None yet."""
        nothing = tf.fill((batch, groups, kept), MINUS_INFINITY)
        return cls(_no_tokens(batch, groups, kept, max_length), nothing, nothing)


class Branches(NamedTuple):
    """Hypotheses longer by one token, `(batch, groups, width)` each: the beam continued, the token, log p."""

    parents: tf.Tensor
    tokens: tf.Tensor
    log_probs: tf.Tensor


def _no_tokens(batch: tf.Tensor, groups: int, width: int, max_length: int) -> tf.Tensor:
    return tf.zeros((batch, groups, width, max_length), tf.int32)


def length_norm(length: tf.Tensor, penalty: float) -> tf.Tensor:
    """Returns `((5 + length) / 6)^penalty` in float32, for a length in tokens, END included.

    Reference: Wu et al., 2016, https://arxiv.org/abs/1609.08144
    """
    return ((5.0 + tf.cast(length, tf.float32)) / 6.0) ** penalty


def choose(ids: tf.Tensor, log_probs: tf.Tensor, diversity: float) -> tuple[Branches, Branches]:
    """Chooses which continuations of each group end and which go on.

    Args:
        ids, log_probs: `(batch, groups, width, count)`: of each beam, the next token and log p with it; of equals the
            first wins.
        diversity: Subtracted from log p, for the comparison only, once for each beam of an earlier group that goes on
            with the same token (Vijayakumar et al., 2016, https://arxiv.org/abs/1610.02424).

    Returns:
        Those that end: END among the `width` best. Only these, for a search with one beam would else end with a token
        that was not the best. And the `width` best that go on.
    """
    ended: list[Branches] = []
    going: list[Branches] = []
    for group in range(ids.shape[1]):
        value = log_probs[:, group]
        if group:
            earlier = tf.concat([branches.tokens for branches in going], axis=-1)
            same = ids[:, group, :, :, None] == earlier[:, None, None, :]
            value -= diversity * tf.reduce_sum(tf.cast(same, tf.float32), axis=-1)
        one, other = _choose_in_group(ids[:, group], log_probs[:, group], value)
        ended.append(one)
        going.append(other)
    return _stacked(ended), _stacked(going)


def _choose_in_group(ids: tf.Tensor, log_probs: tf.Tensor, value: tf.Tensor) -> tuple[Branches, Branches]:
    """Chooses by `value`; all three are `(batch, width, count)`."""
    width, count = ids.shape[1:]
    flat = (-1, width * count)
    value, order = tf.math.top_k(tf.reshape(value, flat), min(2 * width, width * count))
    found = Branches(
        order // count,
        tf.gather(tf.reshape(ids, flat), order, batch_dims=1),
        tf.gather(tf.reshape(log_probs, flat), order, batch_dims=1),
    )
    is_end = found.tokens == END
    ended = found._replace(log_probs=tf.where(is_end, found.log_probs, MINUS_INFINITY))
    ended = Branches(*(part[:, :width] for part in ended))
    going = found._replace(log_probs=tf.where(is_end, MINUS_INFINITY, found.log_probs))
    order = tf.math.top_k(tf.where(is_end, MINUS_INFINITY, value), width).indices
    going = Branches(*(tf.gather(part, order, batch_dims=1) for part in going))
    # The step reads the token of a free place too: it must be one of the vocabulary.
    return ended, going._replace(tokens=tf.where(going.log_probs > MINUS_INFINITY, going.tokens, 0))


def _stacked(groups: list[Branches]) -> Branches:
    return Branches(*(tf.stack(parts, axis=1) for parts in zip(*groups, strict=True)))


def finish(
    finished: Finished, alive: Alive, ended: Branches, i: tf.Tensor, length_penalty: float, covered: tf.Tensor
) -> Finished:
    """Returns the best of the hypotheses that were finished before, and those that end with token `i`.

    Args:
        finished, alive: Before token `i`.
        ended: From `choose`.
        i: Scalar int32.
        length_penalty: As in `Search`.
        covered: `(batch, groups, width)`, or a scalar: the coverage penalty of each beam alive.
    """
    if covered.shape.rank:
        covered = tf.gather(covered, ended.parents, batch_dims=2)
    scores = tf.concat([finished.scores, ended.log_probs / length_norm(i + 1, length_penalty) + covered], axis=-1)
    log_probs = tf.concat([finished.log_probs, ended.log_probs], axis=-1)
    tokens = tf.concat([finished.tokens, _written(alive.tokens, ended, i)], axis=2)
    scores, order = tf.math.top_k(scores, finished.scores.shape[-1])
    return Finished(tf.gather(tokens, order, batch_dims=2), tf.gather(log_probs, order, batch_dims=2), scores)


def go_on(alive: Alive, going: Branches, i: tf.Tensor, running: tf.Tensor) -> tuple[Alive, Branches]:
    """Returns the hypotheses with token `i`, and the branches that led to them.

    Args:
        alive: Before token `i`.
        going: From `choose`.
        i: Scalar int32.
        running: `(batch,)` bool: the others stay as they are.
    """
    running = running[:, None, None]
    going = Branches(
        tf.where(running, going.parents, tf.range(going.parents.shape[-1])),
        tf.where(running, going.tokens, 0),
        tf.where(running, going.log_probs, alive.log_probs),
    )
    return Alive(_written(alive.tokens, going, i), going.log_probs), going


def _written(tokens: tf.Tensor, branches: Branches, i: tf.Tensor) -> tf.Tensor:
    """The tokens of the hypotheses that the branches continue, with theirs in column `i`."""
    tokens = tf.gather(tokens, branches.parents, batch_dims=2)
    return tf.where(tf.range(tokens.shape[-1]) == i, branches.tokens[..., None], tokens)


def best(
    finished: Finished, alive: Alive, lengths: tf.Tensor, length_penalty: float, covered: tf.Tensor, num_best: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns tokens, log p and scores of the `num_best` best of each sentence, `(batch, num_best, ...)`.

    Args:
        finished, alive: At the end. Those alive fill what the finished ones leave free.
        lengths: `(batch,)` int32: of those alive.
        length_penalty, covered: As in `finish`.
        num_best: At most `groups * width`.
    """
    norm = length_norm(lengths, length_penalty)[:, None, None]
    cut = Finished(alive.tokens, alive.log_probs, alive.log_probs / norm + covered)
    ranked = []
    for part in (finished, cut):
        # Now the groups compete: (batch, groups * width, ...).
        part = Finished(*(tf.reshape(x, tf.concat([[-1, x.shape[1] * x.shape[2]], x.shape[3:]], 0)) for x in part))
        order = tf.math.top_k(part.scores, min(num_best, part.scores.shape[-1])).indices
        ranked.append(Finished(*(tf.gather(x, order, batch_dims=1) for x in part)))
    both = Finished(*(tf.concat(parts, axis=1) for parts in zip(*ranked, strict=True)))
    places = tf.range(both.scores.shape[-1], 0, -1)
    order = tf.math.top_k(tf.where(both.scores > MINUS_INFINITY, places, 0), num_best).indices
    tokens, log_probs, scores = (tf.gather(x, order, batch_dims=1) for x in both)
    return tf.where(scores[..., None] > MINUS_INFINITY, tokens, 0), log_probs, scores
