"""The page of coloured text, read back with an HTML parser, and the choice of units, on units made to order."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from rnnapps.errors import UsageError
from rnnapps.neurons import liveliest, page

VOID = {"meta"}


class Reader(HTMLParser):
    """Collects, per block, the text and the tokens as `(text, class, title)`; checks that tags nest."""

    def __init__(self, html: str):
        super().__init__(convert_charrefs=True)
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.tokens: list[list[tuple[str, str, str]]] = []
        self.prompts: list[str] = []
        self._open: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)
        self.close()
        assert not self._open

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes += attributes
        if tag in VOID:
            return
        self._open.append((tag, dict(attributes)))
        if tag == "pre":
            self.texts.append("")
            self.tokens.append([])
            self.prompts.append("")
        elif tag == "span" and "title" in self._open[-1][1]:
            self.tokens[-1].append(("", self._open[-1][1]["class"], self._open[-1][1]["title"]))

    def handle_endtag(self, tag):
        assert self._open.pop()[0] == tag

    def handle_data(self, data):
        if "pre" not in [tag for tag, _ in self._open]:
            return
        if not self.texts[-1] and not self.tokens[-1]:
            assert data == "\n"  # A browser drops a newline right after <pre>, and so does this reader.
            return
        self.texts[-1] += data
        text, shade, title = self.tokens[-1][-1]
        self.tokens[-1][-1] = (text + data, shade, title)
        if any(attributes.get("class") == "prompt" for _, attributes in self._open):
            self.prompts[-1] += data


def make(text="ab", units=3, **options):
    n = len(text)
    rng = np.random.default_rng(0)
    arguments = {
        "title": "Neurons",
        "pieces": list(text),
        "activations": rng.uniform(-1, 1, (n, units)),
        "chosen": [0],
        "nats": rng.uniform(0, 4, n),
        **options,
    }
    return page(**arguments)


def test_text_survives_in_every_block_whatever_it_holds():
    text = "\n<script>alert(1)</script> &amp; \"q\" 'q'\t\té漢😀\n\n  end\n"
    html = make(text, chosen=[2, 0])
    reader = Reader(html)
    assert reader.texts == [text] * 3
    assert [len(tokens) for tokens in reader.tokens] == [len(text)] * 3
    assert "script" not in reader.tags
    html.encode("utf-8")


def test_tokens_of_several_characters():
    assert [token[0] for token in Reader(make(list(range(3)), pieces=[" to", " <b>", "\n"])).tokens[1]] == [
        " to",
        " <b>",
        "\n",
    ]


@pytest.mark.parametrize("c", ["\x00", "\r", "\x1b", "\u202e", "\u00a0", "\ud800", "\u2028"])
def test_what_has_no_glyph_is_shown_by_its_code(c):
    html = make(f"a{c}b")
    assert c not in html
    assert Reader(html).texts == [f"aU+{ord(c):04X}b"] * 2
    html.encode("utf-8")


def test_white_space_has_a_mark_and_stays():
    html = make("a b\n\tc")
    assert "<i> </i>" in html and "<b></b>\n" in html and "<u></u>\t" in html
    for tag in ("i", "b", "u"):
        assert re.search(rf"pre {tag}::before {{[^}}]*content: \"\\[0-9a-f]+\"", html)
    assert "white-space: pre-wrap" in html


def test_nothing_is_loaded_and_nothing_runs():
    reader = Reader(make(title="x"))
    assert not reader.tags & {"script", "link", "img", "iframe", "object", "svg"}
    assert not {name for name, _ in reader.attributes} & {"src", "href", "onclick", "onload"}
    assert "url(" not in make() and "@import" not in make()


def test_title_is_escaped():
    html = make(title="</title><script>x</script>\n&")
    assert Reader(html).tags.isdisjoint({"script"})
    assert html.count("&lt;/title&gt;&lt;script&gt;x&lt;/script&gt; &amp;") == 2


def test_colours_are_symmetric_and_ordered():
    values = np.array([[-0.5], [-0.25], [0.0], [0.125], [0.25]])
    html = make("abcde", activations=values, chosen=[0])
    tokens = Reader(html).tokens[1]
    assert [shade for _, shade, _ in tokens] == ["n40", "n20", "p0", "p10", "p20"]
    assert [title for *_, title in tokens] == ["−0.50", "−0.25", "+0.00", "+0.12", "+0.25"]
    colours = {name: rgb(html, name) for name in ("n40", "n20", "p0", "p20", "p40")}
    assert colours["p0"] == (255, 255, 255)
    assert colours["n40"][2] > colours["n40"][0] and colours["p40"][0] > colours["p40"][2]  # blue, red
    assert np.allclose(colours["p20"], (np.array(colours["p40"]) + 255) / 2, atol=1)
    assert np.allclose(colours["n20"], (np.array(colours["n40"]) + 255) / 2, atol=1)


def test_black_text_is_legible_on_every_shade():
    html = make()
    for name in ("n40", "p40", "s40"):
        linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in np.array(rgb(html, name)) / 255]
        assert (np.dot([0.2126, 0.7152, 0.0722], linear) + 0.05) / 0.05 > 4.5  # WCAG AA


def rgb(html, name):
    match = re.search(rf"\.{name}{{background:#([0-9a-f]{{6}})}}", html)
    return tuple(bytes.fromhex(match[1]))


def test_surprise_comes_first():
    tokens = Reader(make("abc", nats=np.array([0.0, 1.0, 2.0]))).tokens[0]
    assert [shade for _, shade, _ in tokens] == ["s0", "s20", "s40"]
    assert [title for *_, title in tokens] == ["0.00 nats, p = 1", "1.00 nats, p = 0.37", "2.00 nats, p = 0.14"]
    assert "mean 1.00 nats a token (1.44 bits)" in make("abc", nats=np.array([0.0, 1.0, 2.0]))


def test_very_surprising_tokens_share_the_full_colour():
    html = make("abc", nats=np.array([3.0, 6.0, 50.0]))
    assert [shade for _, shade, _ in Reader(html).tokens[0]] == ["s20", "s40", "s40"]
    assert "white to amber: 0 to 6.0 nats or more" in html
    assert "or more" not in make("abc", nats=np.array([0.0, 1.0, 5.9]))


def test_blocks_are_the_chosen_units_in_their_order_with_a_legend():
    activations = np.array([[0.1, 0.2, 0.3], [0.4, -0.8, 0.6]])
    html = make("ab", activations=activations, chosen=[2, 1])
    assert re.findall(r"<h2[^>]*>([^<]*)<", html) == ["Surprise", "Unit 2", "Unit 1"]
    assert [title for *_, title in Reader(html).tokens[2]] == ["+0.20", "−0.80"]
    labels = re.findall(r'role="img" aria-label="([^"]*)"', html)
    assert labels[2] == "Colour scale, blue over white to red: −0.80 to +0.80"


@pytest.mark.parametrize(("length", "underlined"), [(0, ""), (2, "ab"), (4, "abcd")])
def test_prompt_is_marked(length, underlined):
    html = make("abcd", prompt_length=length)
    assert Reader(html).prompts == [underlined] * 2
    assert ("The underlined beginning was given" in html) == bool(length)


def test_silent_unit_and_certain_text_are_white():
    reader = Reader(make("ab", activations=np.zeros((2, 1)), nats=np.zeros(2)))
    assert [shade for tokens in reader.tokens for _, shade, _ in tokens] == ["s0", "s0", "p0", "p0"]


@pytest.mark.parametrize("chosen", [[3], [0, -1]])
def test_unknown_unit(chosen):
    with pytest.raises(UsageError, match=rf"no hidden unit {chosen[-1]}: wanted 0 to 2"):
        make(chosen=chosen)


@pytest.mark.parametrize(
    "options",
    [
        {"activations": np.zeros((3, 2))},
        {"activations": np.zeros(2)},
        {"nats": np.zeros(3)},
        {"nats": np.array([0.0, np.inf])},
        {"activations": np.full((2, 1), np.nan)},
    ],
)
def test_arrays_that_do_not_fit(options):
    with pytest.raises(ValueError, match="have shape|must be finite"):
        make("ab", **options)


def test_empty_text():
    with pytest.raises(UsageError, match="empty"):
        make("")


def made_units(n=400):
    """Units with a known character: silent, slow and strong, its mirror image, fast and strong, slow and weak."""
    t = np.arange(n)
    slow = np.where(t // 50 % 2 == 0, 0.9, -0.9)
    fast = np.where(t % 2 == 0, 1.0, -1.0)
    weak = 0.2 * np.sin(t / 17)
    middle = np.where(t // 30 % 2 == 0, 0.6, -0.6)
    return np.stack([np.zeros(n), fast, slow, weak, -0.95 * slow, middle], axis=1)


def test_liveliest_are_slow_strong_and_different():
    assert liveliest(made_units(), 3) == [2, 5, 3]


def test_liveliest_fall_back_to_lookalikes_when_too_few_are_left():
    # The silent unit and the one that flips with every token tie: both average to the same in every window.
    assert liveliest(made_units(), 6) == [2, 5, 3, 0, 1, 4]


@pytest.mark.parametrize(("n", "k", "wanted"), [(400, 0, 0), (400, 99, 6), (1, 2, 2), (5, 2, 2), (0, 2, 2)])
def test_liveliest_number(n, k, wanted):
    picked = liveliest(made_units()[:n], k)
    assert len(picked) == wanted == len(set(picked))
    assert picked == liveliest(made_units()[:n].astype(np.float32), k)


def test_liveliest_wants_a_matrix():
    with pytest.raises(ValueError, match=r"\(4,\).*\(tokens, units\)"):
        liveliest(np.zeros(4))
