"""One look of a decoder at its memory."""

from keras import ops

from rnnapps.ops import attention


class Look:
    """a_t and w_t of h_t, as `rnnapps.layers.AttentionDecoder` defines them, for that memory and those weights.

    Args:
        score: A name of `rnnapps.ops.attention.SCORES`.
        read: What the decoder has read of the memory: "keys" and "values", `(batch, places, ...)`, and maybe "mask".
        direct: W_h, `(units of h, units)`.
        scoring: W_q, v, and with coverage u; nothing for other scores than additive ones.
        bias: b.
        beams: Rows of h that share a memory, next to each other.
        sentinel: W_g and [U_k, U_v] of the sentinel, or nothing.
    """

    def __init__(self, score, read, direct, scoring, bias, beams=1, sentinel=()):
        self._score, self._mask, self._beams = score, read.get("mask"), beams
        self._units = direct.shape[-1]
        self._has_sentinel = bool(sentinel)
        if score == "additive":
            query, *vectors = scoring
            # One product for the query and for what goes straight to the output.
            self.kernels = {"query": ops.concatenate([query, direct], axis=-1), "values": read["values"]}
            self.constants = [read["keys"], *vectors, bias]
        else:
            keys = ops.swapaxes(read["keys"], 1, 2)
            self.kernels = {"query": direct, "keys": keys, "values": read["values"]}
            self.constants = [bias]
        if sentinel:
            self.kernels |= dict(zip(("sentinel_gate", "sentinel"), sentinel, strict=True))
            if self._mask is not None:  # what can always be looked at, last
                self._mask = ops.concatenate([self._mask, ops.ones_like(self._mask[:, :1])], axis=1)

    def step(self, product, h, cell_state, seen, constants):
        """a_t and w_t, `(batch * beams, ...)`.

        Args:
            product: As in `ops.step_loop`.
            h: h_t.
            cell_state: c_t, for the sentinel.
            seen: What coverage has added up, or None.
            constants: As `constants` gives them.
        """
        *scoring, bias = constants
        asked = product("query", h)
        if self._score == "additive":
            keys, vector, *coverage = scoring
            query, asked = ops.split(asked, [asked.shape[-1] - self._units], axis=-1)
            keys = keys[:, None] + self._grouped(seen)[..., None] * coverage[0] if coverage else keys
            scores = attention.additive(self._grouped(query), keys, vector)
            if self._has_sentinel:
                own = ops.sigmoid(product("sentinel_gate", h)) * ops.tanh(cell_state)
                key, value = ops.split(product("sentinel", own), [query.shape[-1]], axis=-1)
                own_score = attention.additive(query[:, None], key[:, None], vector)
                scores = ops.concatenate([scores, self._grouped(own_score[:, 0])], axis=-1)
        else:
            scores = product("keys", self._grouped(h))
            scores = scores / h.shape[-1] ** 0.5 if self._score == "scaled" else scores
        chosen = attention.weights(scores, self._mask)
        places = chosen[..., :-1] if self._has_sentinel else chosen
        context = ops.reshape(product("values", places), (-1, self._units))
        chosen = ops.reshape(chosen, (-1, _width(chosen)))
        if self._has_sentinel:
            context = context + chosen[:, -1:] * value
        return ops.tanh(asked + context + bias), chosen

    def _grouped(self, rows):
        return ops.reshape(rows, (-1, self._beams, _width(rows)))


def _width(tensor):
    return tensor.shape[-1] if tensor.shape[-1] is not None else ops.shape(tensor)[-1]
