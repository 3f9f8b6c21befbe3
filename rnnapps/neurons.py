"""A page that shows what single hidden units do while a network reads or writes a text.

The text is printed once for each unit, every token on the colour of the unit's activation after it was read, as in
Karpathy, Johnson and Fei-Fei, 2015, https://arxiv.org/abs/1506.02078
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

import numpy as np

from rnnapps.errors import UsageError

_WINDOW = 8  # tokens over which `liveliest` averages: longer than most words' parts, shorter than a sentence
_ALIKE = 0.9  # correlation from which two units show the same thing
_SURPRISING = 6.0  # nats from which a token has the full colour: one odd token should not bleach the others
_LEVELS = 40  # shades between white and full colour

# Full colours that differ for colour-blind readers too, and are light enough for black text (contrast above 6 to 1).
_BLUE, _RED, _AMBER = (92, 148, 255), (255, 104, 92), (255, 170, 51)

_STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #1b1b1f; background: #f4f5f7; margin: 0; }
main { max-width: 62rem; margin: 0 auto; padding: 2rem 1rem 4rem; }
h1 { font-size: 1.5rem; margin: 0 0 .5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.05rem; margin: 0; }
p { margin: .5rem 0; max-width: 46rem; color: #44464d; }
section { background: #fff; border: 1px solid #dcdee3; border-radius: 10px;
  margin-top: 1.25rem; padding: .8rem 1rem 1rem; }
header { display: flex; flex-wrap: wrap; gap: .2rem 1.2rem; align-items: baseline; margin-bottom: .6rem; }
header p { margin: 0; font-size: .85rem; }
.scale { margin-left: auto; display: flex; gap: .5rem; align-items: center; font-size: .8rem; color: #44464d; }
.scale span { width: 8rem; height: .8rem; border: 1px solid #c4c7ce; border-radius: 3px; }
pre { font: 14px/1.65 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; margin: 0; tab-size: 8;
  white-space: pre-wrap; overflow-wrap: anywhere; color: #000; }
pre span { padding: .16em 0; }
pre i, pre b, pre u { font-style: normal; font-weight: normal; text-decoration: none; color: #0006; }
pre i { position: relative; }
pre i::before { content: "\\b7"; position: absolute; left: 0; }
pre b::before { content: "\\21b5"; }
pre u::before { content: "\\2192"; }
pre q { quotes: none; font-size: .75em; color: #0009; }
.prompt { text-decoration: underline dotted 2px #555; text-underline-offset: .25em; }
@media print { body { background: #fff; } section { break-inside: avoid; }
  pre span, .scale span { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""


def page(
    title: str,
    pieces: Sequence[str],
    activations: np.ndarray,
    chosen: Sequence[int],
    nats: np.ndarray,
    prompt_length: int = 0,
) -> str:
    """Makes a web page of a text coloured by hidden units; it needs no other file and no script.

    The first block shows how much each token surprised the network, then comes one block per chosen unit: blue is
    negative, white zero, red positive. A unit's full colour is its largest absolute activation in this text, on both
    sides, and pointing at a token shows the value. White space is made visible and stays what it is when copied.

    Args:
        title: Heading of the page.
        pieces: Text of each of the n tokens; joined they are the text.
        activations: `(n, units)`: row i holds the units after token i was read.
        chosen: Units to show, in this order, counted from 0.
        nats: `(n,)`: `-log p` of each token, given those before it.
        prompt_length: How many tokens at the start were given, not written by the network; they are underlined.

    Returns:
        HTML, to be saved as UTF-8.

    Raises:
        UsageError: The text is empty, or there is no such unit.
        ValueError: The arrays do not fit the pieces, or hold values that are not finite.
    """
    activations, nats = np.asarray(activations, np.float64), np.asarray(nats, np.float64)
    _check(pieces, activations, chosen, nats)
    shown = [_visible(piece) for piece in pieces]
    blocks = [_surprise_block(shown, nats, prompt_length)]
    blocks += [_unit_block(shown, activations[:, unit], unit, prompt_length) for unit in chosen]
    given = " The underlined beginning was given; the network wrote the rest." if prompt_length else ""
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<title>{_plain(title)}</title>\n'
        f"<style>{_STYLE}{_shades()}</style>\n</head>\n<body>\n<main>\n<h1>{_plain(title)}</h1>\n"
        f"<p>Each block shows the same {len(pieces):,} tokens. Colour is the value of one hidden unit after it has "
        f"read the token: blue is negative, white is zero, red is positive. Point at a token to see the "
        f"number.{given}</p>\n"
        f"{''.join(blocks)}</main>\n</body>\n</html>\n"
    )


def liveliest(activations: np.ndarray, k: int = 5) -> list[int]:
    """Picks units that are worth a look: they swing far, stay there for a while, and do not all do the same.

    A unit that follows something in the text (inside quotes, far along a line, in an upper-case heading) keeps its
    value over many tokens; one that flips with every letter does not. So units are ordered by the variance of their
    mean over 8 consecutive tokens, and a unit is passed over while its activations correlate above 0.9, in either
    sign, with those of a unit picked before, unless too few are left.

    Args:
        activations: `(n, units)`.
        k: How many to pick; at most all are.

    Returns:
        Distinct units, the liveliest first. The same activations always give the same answer; of equals the first wins.

    Raises:
        ValueError: `activations` is not a matrix.
    """
    activations = np.asarray(activations, np.float64)
    if activations.ndim != 2:
        raise ValueError(f"activations have shape {activations.shape}: wanted (tokens, units)")
    n, units = activations.shape
    k = min(k, units)
    if n == 0:
        return list(range(k))
    window = min(_WINDOW, n)
    sums = np.cumsum(np.vstack([np.zeros(units), activations]), axis=0)
    order = np.argsort(-((sums[window:] - sums[:-window]) / window).var(axis=0), kind="stable")
    centred = activations - activations.mean(axis=0)
    directions = centred / np.maximum(np.linalg.norm(centred, axis=0), 1e-12)
    picked: list[int] = []
    for unit in order.tolist():
        if len(picked) < k and np.all(np.abs(directions[:, unit] @ directions[:, picked]) <= _ALIKE):
            picked.append(unit)
    rest = [unit for unit in order.tolist() if unit not in picked]
    return picked + rest[: max(0, k - len(picked))]


def _check(pieces: Sequence[str], activations: np.ndarray, chosen: Sequence[int], nats: np.ndarray) -> None:
    n = len(pieces)
    if n == 0:
        raise UsageError("the text to show neurons on is empty: wanted at least one token")
    if activations.ndim != 2 or len(activations) != n:
        raise ValueError(f"activations have shape {activations.shape}: wanted ({n}, units)")
    if nats.shape != (n,):
        raise ValueError(f"nats have shape {nats.shape}: wanted ({n},)")
    if not (np.isfinite(activations).all() and np.isfinite(nats).all()):
        raise ValueError("activations and nats must be finite")
    units = activations.shape[1]
    for unit in chosen:
        if not 0 <= unit < units:
            raise UsageError(f"there is no hidden unit {unit}: wanted 0 to {units - 1}")


def _surprise_block(shown: Sequence[str], nats: np.ndarray, prompt_length: int) -> str:
    top = min(max(float(nats.max()), 1e-9), _SURPRISING)
    levels = np.rint(np.clip(nats / top, 0, 1) * _LEVELS).astype(int)
    tokens = _tokens(
        shown,
        (f"s{level}" for level in levels.tolist()),
        (f"{cost:.2f} nats, p = {np.exp(-cost):.2g}" for cost in nats.tolist()),
        prompt_length,
    )
    mean = nats.mean()
    note = f"mean {mean:.2f} nats a token ({mean / np.log(2):.2f} bits); amber is what the network did not expect"
    high = f"{top:.1f} nats" + (" or more" if top == _SURPRISING else "")
    return _block("surprise", "Surprise", note, ("0", "white to amber", high), f"#fff,{_css(_AMBER)}", tokens)


def _unit_block(shown: Sequence[str], values: np.ndarray, unit: int, prompt_length: int) -> str:
    top = max(float(np.abs(values).max()), 1e-9)
    levels = np.rint(values / top * _LEVELS).astype(int)
    tokens = _tokens(
        shown,
        (f"n{-level}" if level < 0 else f"p{level}" for level in levels.tolist()),
        (_number(value) for value in values.tolist()),
        prompt_length,
    )
    note = f"from {_number(values.min())} to {_number(values.max())} in this text"
    scale = (_number(-top), "blue over white to red", _number(top))
    return _block(f"unit-{unit}", f"Unit {unit}", note, scale, f"{_css(_BLUE)},#fff,{_css(_RED)}", tokens)


def _block(name: str, heading: str, note: str, scale: tuple[str, str, str], colours: str, tokens: str) -> str:
    low, described, high = scale
    return (
        f'<section aria-labelledby="{name}">\n<header><h2 id="{name}">{heading}</h2><p>{note}</p>\n'
        f'<div class="scale" role="img" aria-label="Colour scale, {described}: {low} to {high}">{low}'
        f'<span style="background:linear-gradient(90deg,{colours})"></span>{high}</div></header>\n'
        # HTML drops a newline right after <pre>, so one is put there for it to drop.
        f'<pre translate="no">\n{tokens}</pre>\n</section>\n'
    )


def _tokens(shown: Sequence[str], shades: Iterable[str], values: Iterable[str], prompt_length: int) -> str:
    spans = [
        f'<span class="{shade}" title="{value}">{text}</span>'
        for text, shade, value in zip(shown, shades, values, strict=True)
    ]
    prompt, rest = "".join(spans[:prompt_length]), "".join(spans[prompt_length:])
    return f'<span class="prompt">{prompt}</span>{rest}' if prompt else rest


def _visible(piece: str) -> str:
    """HTML of a token: white space with a mark that only the style sheet draws, control characters by their code."""
    return "".join(_character(c) for c in piece)


def _character(c: str) -> str:
    marked = {" ": "<i> </i>", "\n": "<b></b>\n", "\t": "<u></u>\t"}
    if c in marked:
        return marked[c]
    # The rest of what has no glyph: HTML would change or drop it, and some of it turns the order of the text round.
    return escape(c) if c.isprintable() else f"<q>U+{ord(c):04X}</q>"


def _plain(text: str) -> str:
    return escape("".join(c if c.isprintable() else " " for c in text))


def _number(value: float) -> str:
    return f"{round(value, 2) + 0.0:+.2f}".replace("-", "\N{MINUS SIGN}")  # + 0.0: no "-0.00"


def _shades() -> str:
    """One class per shade, `n40` full blue to `p40` full red, and `s0` to `s40` for surprise: shorter than styles."""
    rules = []
    for level in range(_LEVELS + 1):
        for name, colour in (("n", _BLUE), ("p", _RED), ("s", _AMBER)):
            mixed = tuple(round(255 + (part - 255) * level / _LEVELS) for part in colour)
            rules.append(f".{name}{level}{{background:{_css(mixed)}}}")
    return "\n".join(rules) + "\n"


def _css(colour: tuple[int, ...]) -> str:
    return "#" + "".join(f"{part:02x}" for part in colour)
