"""Cells whose gates see what was put out before."""

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
