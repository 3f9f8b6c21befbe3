"""NumPy oracles, written from the equations: what the cells, and the training of min-char-rnn, are held against.

Rows are examples and weights stand on the right, as in Keras. Everything runs in the dtype of its arguments.
"""

from __future__ import annotations

import numpy as np


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def simple_rnn_step(x, h, kernel, recurrent_kernel, bias):
    """`h' = tanh(x W + h U + b)`."""
    return np.tanh(x @ kernel + h @ recurrent_kernel + bias)


def gru_step(x, h, kernel, recurrent_kernel, bias):
    """The GRU whose reset gate acts after the product (Cho et al., 2014); gates stand in order z, r, n.

    z = sigmoid(x W_z + b_z + h U_z + u_z)
    r = sigmoid(x W_r + b_r + h U_r + u_r)
    n = tanh(x W_n + b_n + r (h U_n + u_n))
    h' = z h + (1 - z) n
    """
    w_z, w_r, w_n = np.split(kernel, 3, axis=1)
    u_z, u_r, u_n = np.split(recurrent_kernel, 3, axis=1)
    (bw_z, bw_r, bw_n), (bu_z, bu_r, bu_n) = (np.split(row, 3) for row in bias)
    z = sigmoid(x @ w_z + bw_z + h @ u_z + bu_z)
    r = sigmoid(x @ w_r + bw_r + h @ u_r + bu_r)
    n = np.tanh(x @ w_n + bw_n + r * (h @ u_n + bu_n))
    return z * h + (1 - z) * n


def lstm_step(x, h, c, kernel, recurrent_kernel, bias):
    """The LSTM with a forget gate (Gers et al., 2000); gates stand in order i, f, g, o. Returns `h'` and `c'`.

    c' = sigmoid(f) c + sigmoid(i) tanh(g)
    h' = sigmoid(o) tanh(c')
    """
    w_i, w_f, w_g, w_o = np.split(kernel, 4, axis=1)
    u_i, u_f, u_g, u_o = np.split(recurrent_kernel, 4, axis=1)
    b_i, b_f, b_g, b_o = np.split(bias, 4)
    i = sigmoid(x @ w_i + h @ u_i + b_i)
    f = sigmoid(x @ w_f + h @ u_f + b_f)
    g = np.tanh(x @ w_g + h @ u_g + b_g)
    o = sigmoid(x @ w_o + h @ u_o + b_o)
    c = f * c + i * g
    return o * np.tanh(c), c


def coupled_lstm_step(x, states, weights):
    """The LSTM whose input gate is 1 - f (Greff et al., 2015); gates stand in order f, g, o.

    c' = f c + (1 - f) tanh(g)
    h' = sigmoid(o) tanh(c')
    """
    h, c = states
    w_f, w_g, w_o = np.split(weights["kernel"], 3, axis=1)
    u_f, u_g, u_o = np.split(weights["recurrent_kernel"], 3, axis=1)
    b_f, b_g, b_o = np.split(weights["bias"], 3)
    f = sigmoid(x @ w_f + h @ u_f + b_f)
    g = np.tanh(x @ w_g + h @ u_g + b_g)
    o = sigmoid(x @ w_o + h @ u_o + b_o)
    c = f * c + (1 - f) * g
    h = o * np.tanh(c)
    return h, [h, c]


def peephole_lstm_step(x, states, weights):
    """The LSTM whose gates see the cell state (Gers et al., 2002); gates stand in order i, f, g, o, peepholes i, f, o.

    i = sigmoid(.. + p_i c), f = sigmoid(.. + p_f c)
    c' = f c + i tanh(g)
    h' = sigmoid(.. + p_o c') tanh(c')
    """
    h, c = states
    i, f, g, o = np.split(x @ weights["kernel"] + h @ weights["recurrent_kernel"] + weights["bias"], 4, axis=1)
    p_i, p_f, p_o = weights["peephole"]
    new = sigmoid(f + p_f * c) * c + sigmoid(i + p_i * c) * np.tanh(g)
    h = sigmoid(o + p_o * new) * np.tanh(new)
    return h, [h, new]


def projected_lstm_step(x, states, weights):
    """The LSTM with h projected by V (Sak et al., 2014), without peepholes; gates stand in order i, f, g, o.

    c' = sigmoid(f) c + sigmoid(i) tanh(g)
    h' = (sigmoid(o) tanh(c')) V
    """
    h, c = states
    shown, c = lstm_step(x, h, c, weights["kernel"], weights["recurrent_kernel"], weights["bias"])
    h = shown @ weights["projection_kernel"]
    return h, [h, c]


def layer_norm(x, epsilon):
    """Each row to mean 0 and variance 1."""
    return (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + epsilon)


def layer_norm_lstm_step(x, states, weights, epsilon=1e-5):
    """The layer-normalised LSTM (Ba et al., 2016, supplement); gates stand in order i, f, g, o.

    (i, f, g, o) = LN(x W) a + LN(h U) k + b
    c' = sigmoid(f) c + sigmoid(i) tanh(g)
    h' = sigmoid(o) tanh(LN(c') s + d)
    """
    h, c = states
    summed = layer_norm(x @ weights["kernel"], epsilon) * weights["input_gain"]
    summed = summed + layer_norm(h @ weights["recurrent_kernel"], epsilon) * weights["recurrent_gain"] + weights["bias"]
    i, f, g, o = np.split(summed, 4, axis=1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(layer_norm(c, epsilon) * weights["cell_gain"] + weights["cell_bias"])
    return h, [h, c]


def layer_norm_gru_step(x, states, weights, epsilon=1e-5):
    """The layer-normalised GRU (Ba et al., 2016, supplement), with z the share that is kept; order z, r, n.

    (z, r) = sigmoid(LN(x W_zr) a_zr + b_zr + LN(h U_zr) k_zr)
    n = tanh(LN(x W_n) a_n + b_n + r (LN(h U_n) k_n + d))
    h' = z h + (1 - z) n
    """
    (h,) = states
    wide = 2 * h.shape[1]
    (a_zr, a_n), (k_zr, k_n), (b_zr, b_n) = (
        np.split(weights[name], [wide]) for name in ("input_gain", "recurrent_gain", "bias")
    )
    x_zr, x_n = (layer_norm(part, epsilon) for part in np.split(x @ weights["kernel"], [wide], axis=1))
    h_zr, h_n = (layer_norm(part, epsilon) for part in np.split(h @ weights["recurrent_kernel"], [wide], axis=1))
    z, r = np.split(sigmoid(x_zr * a_zr + b_zr + h_zr * k_zr), 2, axis=1)
    n = np.tanh(x_n * a_n + b_n + r * (h_n * k_n + weights["candidate_bias"]))
    h = z * h + (1 - z) * n
    return h, [h]


def ind_rnn_step(x, states, weights, activation=lambda a: np.maximum(a, 0)):
    """Units that see only themselves (Li et al., 2018): `h' = relu(x W + v h + b)`."""
    h = activation(x @ weights["kernel"] + weights["recurrent_weight"] * states[0] + weights["bias"])
    return h, [h]


def irnn_step(x, states, weights):
    """Rectified linear units (Le et al., 2015): `h' = relu(x W + h U + b)`."""
    h = np.maximum(x @ weights["kernel"] + states[0] @ weights["recurrent_kernel"] + weights["bias"], 0)
    return h, [h]


def ugrnn_step(x, states, weights):
    """The network with an update gate (Collins et al., 2016): `h' = f h + (1 - f) tanh(g)`; order f, g."""
    (h,) = states
    f, g = np.split(x @ weights["kernel"] + h @ weights["recurrent_kernel"] + weights["bias"], 2, axis=1)
    h = sigmoid(f) * h + (1 - sigmoid(f)) * np.tanh(g)
    return h, [h]


def slstm_step(x, states, weights, forget="sigmoid"):
    """The stabilised sLSTM (Beck et al., 2024); gates stand in order i, f, z, o; F = sigmoid(f) or exp(f).

    m' = max(log F + m, i), and i where n = 0: nothing has been read
    c' = exp(log F + m - m') c + exp(i - m') tanh(z)
    n' = exp(log F + m - m') n + exp(i - m')
    h' = sigmoid(o) c' / n'
    """
    h, c, n, m = states
    i, f, z, o = np.split(x @ weights["kernel"] + h @ weights["recurrent_kernel"] + weights["bias"], 4, axis=1)
    log_f = -np.logaddexp(0, -f) if forget == "sigmoid" else f
    new = np.where(n == 0, i, np.maximum(log_f + m, i))
    keep = np.where(n == 0, 0, np.exp(np.minimum(log_f + m - new, 0)))
    c = keep * c + np.exp(i - new) * np.tanh(z)
    n = keep * n + np.exp(i - new)
    h = sigmoid(o) * c / n
    return h, [h, c, n, new]


def min_gru_step(x, states, weights):
    """The minimal GRU (Feng et al., 2024), its plain form; gates stand in order z, n.

    z = sigmoid(x W_z + b_z)
    h' = (1 - z) h + z (x W_n + b_n)
    """
    z, n = np.split(x @ weights["kernel"] + weights["bias"], 2, axis=1)
    h = (1 - sigmoid(z)) * states[0] + sigmoid(z) * n
    return h, [h]


def min_lstm_step(x, states, weights):
    """The minimal LSTM with gates that share one whole (Feng et al., 2024), its plain form; gates in order f, i, n.

    f, i = sigmoid(x W_f + b_f), sigmoid(x W_i + b_i)
    h' = f / (f + i) h + i / (f + i) (x W_n + b_n)
    """
    f, i, n = np.split(x @ weights["kernel"] + weights["bias"], 3, axis=1)
    f, i = sigmoid(f), sigmoid(i)
    h = f / (f + i) * states[0] + i / (f + i) * n
    return h, [h]


def sru_step(x, states, weights):
    """The simple recurrent unit of the first version (Lei et al., 2017); parts of W in order f, r, n and the input's.

    f, r = sigmoid(x W_f + b_f), sigmoid(x W_r + b_r)
    c' = f c + (1 - f) (x W_n)
    h' = r tanh(c') + (1 - r) x
    """
    units = states[0].shape[1]
    w_f, w_r, w_n, *w_x = np.split(weights["kernel"], weights["kernel"].shape[1] // units, axis=1)
    b_f, b_r = np.split(weights["bias"], 2)
    f, r = sigmoid(x @ w_f + b_f), sigmoid(x @ w_r + b_r)
    c = f * states[0] + (1 - f) * (x @ w_n)
    return r * np.tanh(c) + (1 - r) * (x @ w_x[0] if w_x else x), [c]


def qrnn_step(x, states, weights):
    """The quasi-recurrent network with fo-pooling (Bradbury et al., 2016); gates in order z, f, o.

    With p the parts of the previous input times W_1, where there is such a weight:
    z, f, o = tanh, sigmoid, sigmoid of the parts of p + x W_2 + b
    c' = f c + (1 - f) z
    h' = o c'
    """
    c, *p = states
    gates = x @ weights["kernel"] + weights["bias"]
    z, f, o = np.split(gates + np.concatenate(p, axis=1) if p else gates, 3, axis=1)
    c = sigmoid(f) * c + (1 - sigmoid(f)) * np.tanh(z)
    return sigmoid(o) * c, [c, *(np.split(x @ weights["previous_kernel"], 3, axis=1) if p else [])]


def rg_lru_step(x, states, weights):
    """The real-gated linear recurrent unit (De et al., 2024); parts of W in order r, i and the input's.

    r, i = sigmoid(x W_r + b_r), sigmoid(x W_i + b_i)
    a = sigmoid(decay)^(8 r)
    h' = a h + sqrt(1 - a^2) i x
    """
    units = states[0].shape[1]
    w_r, w_i, *w_x = np.split(weights["kernel"], weights["kernel"].shape[1] // units, axis=1)
    b_r, b_i = np.split(weights["bias"], 2)
    a = sigmoid(weights["decay"]) ** (8 * sigmoid(x @ w_r + b_r))
    h = a * states[0] + np.sqrt(1 - a**2) * sigmoid(x @ w_i + b_i) * (x @ w_x[0] if w_x else x)
    return h, [h]


def mlstm_step(x, states, weights):
    """The matrix LSTM (Beck et al., 2024), row by row and head by head, without the stabiliser; q, k, v, o, i, f.

    C' = sigmoid(f) C + exp(i) v k^T / sqrt(d)
    n' = sigmoid(f) n + exp(i) k / sqrt(d)
    h' = sigmoid(o) C' q / max(|n'.q|, 1)

    The states hold C and n divided by exp(m), where m' = max(log sigmoid(f) + m, i).
    """
    _, all_c, all_n, all_m = states
    units, heads = all_n.shape[1], all_m.shape[1]
    d = units // heads
    new_h, new_c, new_n, new_m = (np.zeros_like(state) for state in states)
    for row, z in enumerate(x @ weights["kernel"] + weights["bias"]):
        for head in range(heads):
            one, matrix = slice(head * d, head * d + d), slice(head * d * d, (head + 1) * d * d)
            q, k, v, o = (z[part * units : (part + 1) * units][one] for part in range(4))
            i, f = z[4 * units + head], z[4 * units + heads + head]
            scale = np.exp(all_m[row, head])
            c = sigmoid(f) * scale * all_c[row, matrix].reshape(d, d) + np.exp(i) * np.outer(v, k) / np.sqrt(d)
            n = sigmoid(f) * scale * all_n[row, one] + np.exp(i) * k / np.sqrt(d)
            m = max(np.log(sigmoid(f)) + all_m[row, head], i)
            new_h[row, one] = sigmoid(o) * (c @ q) / max(abs(n @ q), 1)
            new_c[row, matrix], new_n[row, one], new_m[row, head] = c.ravel() / np.exp(m), n / np.exp(m), m
    return new_h, [new_h, new_c, new_n, new_m]


class MinCharRNN:
    """A plain recurrent network that reads one character at a time, trained as the 112-line min-char-rnn is.

    With one-hot x_t and p_t the predicted distribution of the next character,

        h_t = tanh(x_t W + h_{t-1} U + b)
        p_t = softmax(h_t V + c)
        loss = -sum_t log p_t[target_t]

    Back-propagation through time stops at the window's start. Each element of a gradient is cut to [-5, 5], then
    Adagrad takes its step: m += g^2, w -= 0.1 g / sqrt(m + 1e-8).

    Args:
        weights: `[W, U, b, V, c]`; copied, and all computation is in their dtype.
    """

    RATE, EPSILON, LIMIT = 0.1, 1e-8, 5.0

    def __init__(self, weights):
        self.weights = [np.array(w) for w in weights]
        self.squares = [np.zeros_like(w) for w in self.weights]

    def loss_and_gradients(self, inputs, targets, h):
        """Loss of a window of ids, gradients in the order of the weights, and the state after it `(units,)`."""
        kernel, recurrent, bias, out, out_bias = self.weights
        steps, hidden = np.arange(len(inputs)), [h]
        for token in inputs:
            one_hot = np.eye(len(kernel), dtype=kernel.dtype)[token]
            hidden.append(simple_rnn_step(one_hot, hidden[-1], kernel, recurrent, bias))
        before, after = np.array(hidden[:-1]), np.array(hidden[1:])  # (T, units)
        logits = after @ out + out_bias
        exp = np.exp(logits - logits.max(axis=1, keepdims=True))
        p = exp / exp.sum(axis=1, keepdims=True)  # (T, V)
        loss = -np.log(p[steps, targets]).sum()

        d_logits = p.copy()
        d_logits[steps, targets] -= 1  # d loss / d logits = p - one_hot(target)
        d_pre = np.zeros_like(after)  # d loss / d (x W + h U + b)
        later = np.zeros_like(h)
        for t in reversed(steps):
            d_pre[t] = (d_logits[t] @ out.T + later) * (1 - after[t] ** 2)
            later = d_pre[t] @ recurrent.T
        d_kernel = np.zeros_like(kernel)
        np.add.at(d_kernel, np.asarray(inputs), d_pre)
        gradients = [d_kernel, before.T @ d_pre, d_pre.sum(axis=0), after.T @ d_logits, d_logits.sum(axis=0)]
        return float(loss), gradients, hidden[-1]

    def update(self, gradients) -> bool:
        """Takes one step; returns whether clipping changed a gradient."""
        for weight, square, gradient in zip(self.weights, self.squares, gradients, strict=True):
            cut = np.clip(gradient, -self.LIMIT, self.LIMIT)
            square += cut**2
            weight -= self.RATE * cut / np.sqrt(square + self.EPSILON)
        return any(np.abs(gradient).max() > self.LIMIT for gradient in gradients)
