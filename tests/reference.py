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
