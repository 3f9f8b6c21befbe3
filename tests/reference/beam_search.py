"""Beam search in plain lists, and a model for it whose logits depend on all that was read."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

END, UNSEEN = 1, 2
LONGEST = 8
SEEDS = [3, 14, 159, 265]
STATES, MEMORY = 997, 3


class Toy:
    """Logits and attention weights from tables; the place in them is a hash of the tokens read.

    Half of the hash is a state `(rows,)`, the other half is read back from a state `(rows, 2, LONGEST + 1)` that holds
    the tokens themselves, the last one first.
    """

    def __init__(self, vocabulary, scale=1.5, favourites=(), holes=0.0):
        rng = np.random.default_rng(vocabulary)
        self.table = rng.normal(scale=scale, size=(STATES, vocabulary)).astype(np.float32)
        for token, more in dict(favourites).items():
            self.table[:, token] += np.float32(more)
        self.table[rng.uniform(size=self.table.shape) < holes] = -np.inf
        weights = np.exp(rng.normal(scale=2.0, size=(STATES, MEMORY)))
        self.weights = (weights / weights.sum(1, keepdims=True)).astype(np.float32)

    def states(self, seeds):
        return {
            "code": tf.constant(seeds, tf.int32),
            "read": tf.zeros((len(seeds), 2, LONGEST + 1), tf.int32),
            "alignment": tf.zeros((len(seeds), MEMORY)),
        }

    def step(self, tokens, states):
        code = (states["code"] * 7 + tokens) % STATES
        new = tf.stack([tokens, 2 * tokens], axis=1)[:, :, None]
        read = tf.concat([new, states["read"][:, :, :-1]], axis=2)
        factors = tf.range(LONGEST + 1) ** 2 + 1
        place = (code + tf.reduce_sum(read[:, 1] * factors, axis=1)) % STATES
        alignment = tf.gather(self.weights, place)
        return tf.gather(self.table, place), {"code": code, "read": read, "alignment": alignment}

    def logits(self, seed, written):
        """Logits and attention weights after token 0 and the tokens written."""
        code, read = seed, [0, *written]
        for token in read:
            code = (code * 7 + token) % STATES
        place = (code + sum(2 * token * (i * i + 1) for i, token in enumerate(reversed(read)))) % STATES
        return self.table[place], self.weights[place]


def log_softmax(logits):
    logits = np.float64(logits)
    return logits - np.logaddexp.reduce(logits)


def penalised(toy, seed, tokens, steps, log_prob, options):
    """The score of tokens that took so many steps: of a cut sentence, the penalties see the steps that were made."""
    value = log_prob / ((5 + steps) / 6) ** options.length_penalty
    if options.coverage_penalty:
        covered = sum(np.float64(toy.logits(seed, tokens[:i])[1]) for i in range(steps))
        value += options.coverage_penalty * np.log(np.minimum(covered, 1)).sum()
    return value


def score(toy, seed, tokens, options):
    """log p and score of a sentence that ends."""
    log_prob = sum(log_softmax(toy.logits(seed, tokens[:i])[0])[token] for i, token in enumerate(tokens))
    return log_prob, penalised(toy, seed, tokens, len(tokens), log_prob, options)


def by_hand(toy, seed, options, forced=(), limit=None):
    """The best hypotheses `(tokens, log p, score)` of one sentence, the best first."""
    limit = options.max_length if limit is None else min(limit, options.max_length)
    width = options.beam // options.groups
    alive = [[((), 0.0)] for _ in range(options.groups)]
    finished = [[] for _ in range(options.groups)]
    for i in range(limit):
        taken = []
        for group in range(options.groups):
            candidates = []
            for tokens, log_prob in alive[group]:
                candidates += continuations(toy, seed, tokens, log_prob, options, forced)
            # Python's sort is stable: of equals the lower beam and the lower token stay first.
            candidates.sort(key=lambda one: -(one[1] - options.diversity * taken.count(one[0][-1])))
            for rank, (tokens, log_prob) in enumerate(candidates[: 2 * width]):
                if tokens[-1] == END and rank < width:
                    finished[group].append((tokens, log_prob, penalised(toy, seed, tokens, i + 1, log_prob, options)))
            alive[group] = [one for one in candidates[: 2 * width] if one[0][-1] != END][:width]
            taken += [one[0][-1] for one in alive[group]]
            if width == 1 and finished[group]:
                alive[group] = []
    cut = [(t, p, penalised(toy, seed, t, limit, p, options)) for group in alive for t, p in group]
    # A group returns no more than its width.
    ended = [one for group in finished for one in sorted(group, key=lambda one: -one[2])[:width]]
    ranked = [sorted(part, key=lambda one: -one[2]) for part in (ended, cut)]
    return [*ranked[0], *ranked[1]][: options.num_best]


def continuations(toy, seed, tokens, log_prob, options, forced):
    """What may follow the tokens, with log p: all that is allowed, or the token that is forced."""
    log_p = log_softmax(toy.logits(seed, tokens)[0]) if np.isfinite(toy.logits(seed, tokens)[0]).any() else []
    if len(tokens) < len(forced):
        token = int(forced[len(tokens)])
        return [((*tokens, token), log_prob + log_p[token])]
    n = options.no_repeat_ngram
    grams = {tokens[i : i + n] for i in range(len(tokens) - n + 1)} if n else set()
    allowed = []
    for token in range(1, len(log_p)):
        too_short = token == END and len(tokens) < options.min_length
        unseen = token == UNSEEN and options.block_unseen
        repeated = n and (*tokens, token)[-n:] in grams
        if np.isfinite(log_p[token]) and not (too_short or unseen or repeated):
            allowed.append(((*tokens, token), log_prob + log_p[token]))
    return allowed
