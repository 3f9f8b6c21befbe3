"""Requests, and what TensorFlow Serving and `serve` make of them: the README's table is made from these.

What the server does was read in its source (`json_tensor.cc`, `http_rest_api_handler.cc`, `server_core.cc`, as of July
2026); it was not run. The model is `server_process.Sums`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

_SUMS = "/v1/models/sums"
PREDICT = f"{_SUMS}:predict"
NAN = float("nan")


@dataclass(frozen=True)
class Case:
    """A request.

    Attributes:
        group: A row of the table.
        name: What is asked.
        body: JSON, or bytes as they are; None is a GET.
        theirs: The status of TensorFlow Serving.
        answer: What `serve` answers, where it has the same status, 200; the row or column form left out.
        ours: The status of `serve`, where it is another; and why.
    """

    group: str
    name: str
    body: Any
    theirs: int
    answer: Any = None
    ours: tuple[int, str] | None = None
    path: str = PREDICT


def several(**changes: Any) -> dict[str, Any]:
    row = {"i": 1, "f": [0.5, 2], "s": "a", "b": True, **changes}
    return {"signature_name": "several", "instances": [row]}


def text(given: Any) -> dict[str, Any]:
    """A row of `several`, whose string comes back."""
    return several(s=given)


def _raw(name: str) -> bytes:
    return b'{"instances": [' + name.encode() + b"]}"


CASES = [
    Case("shapes", "a value for a single input", {"instances": [1, 2]}, 200, [1.0, 2.0]),
    Case("shapes", "an object for a single input", {"instances": [{"x": 1}]}, 200, [1.0]),
    Case("shapes", "columns", {"inputs": {"x": [1, 2]}}, 200, [1.0, 2.0]),
    Case("shapes", "columns of a single input without its name", {"inputs": [1, 2]}, 200, [1.0, 2.0]),
    Case("shapes", "columns without rows", {"inputs": []}, 200, []),
    Case("shapes", "rows of lists", {"signature_name": "wide", "instances": [[1, 2], [3, 4]]}, 200, [3.0, 7.0]),
    Case("shapes", "rows of no values", {"signature_name": "wide", "instances": [[], []]}, 200, [0.0, 0.0]),
    Case("shapes", "rows of two lengths", {"signature_name": "wide", "instances": [[1, 2], [3]]}, 400),
    Case("shapes", "a list beside a value", {"signature_name": "wide", "instances": [[1], 2]}, 400),
    Case("shapes", "an object beside a value", {"instances": [{"x": 1}, 1]}, 400),
    Case("shapes", "a value beside an object", {"instances": [1, {"x": 1}]}, 400),
    Case("shapes", "a list that is too deep", {"instances": [[[1]]]}, 400),
    Case("shapes", "a value for several inputs", {"signature_name": "several", "instances": [1]}, 400),
    Case("shapes", "columns without names for several inputs", {"signature_name": "several", "inputs": [1]}, 400),
    Case("keys", "both forms", {"instances": [1], "inputs": [1]}, 400),
    Case("keys", "neither form", {"signature_name": "serving_default"}, 400),
    Case("keys", "rows that are no list", {"instances": 1}, 400),
    Case("keys", "no rows", {"instances": []}, 400),
    Case("keys", "a signature's name that is empty", {"signature_name": "", "instances": [1]}, 200, [1.0]),
    Case("keys", "a signature's name that is no text", {"signature_name": 1, "instances": [1]}, 400),
    Case("keys", "an unknown signature", {"signature_name": "no", "instances": [1]}, 400),
    Case("keys", "another key beside", {"instances": [1], "more": 2}, 200, [1.0]),
    Case("keys", "another input in a row", several(z=1), 400),
    Case("keys", "a missing input in a row", {"signature_name": "several", "instances": [{"i": 1}]}, 400),
    Case("keys", "another input among columns", {"inputs": {"x": [1], "z": [2]}}, 200, [1.0]),
    Case("keys", "a missing column", {"signature_name": "several", "inputs": {"i": [1]}}, 400),
    Case("keys", "two equal keys", b'{"inputs": [1], "inputs": [2]}', 200, [1.0]),
    Case("keys", "two equal columns", b'{"inputs": {"x": [1], "x": [2]}}', 200, [1.0]),
    Case("numbers", "a whole number for a float", {"instances": [3]}, 200, [3.0]),
    Case("numbers", "a whole number of more than 24 bits for a float", {"instances": [16777217]}, 200, [16777216.0]),
    Case("numbers", "a whole number of more than 64 bits for a float", {"instances": [10**25]}, 200, [1e25]),
    Case("numbers", "NaN and infinities", _raw("NaN, Infinity, -Infinity"), 200, [NAN, float("inf"), -float("inf")]),
    Case("numbers", "Inf", _raw("Inf"), 200, ours=(400, "`Inf` is no word of JSON here: wanted `Infinity`")),
    Case("numbers", "a number that no double holds", _raw("1e400"), 400),
    Case("numbers", "400 digits", _raw("1" * 400), 400),
    Case(
        "numbers", "a number that no float32 holds", {"instances": [1e39]}, 200,
        ours=(400, "a number that would become infinite is refused"),
    ),
    Case("numbers", "a fraction for an int32", several(i=1.0), 400),
    Case("numbers", "more than an int32 holds", several(i=2**31), 400),
    Case("numbers", "text for a number", {"instances": ["1"]}, 400),
    Case("numbers", "a truth value for a number", {"instances": [True]}, 400),
    Case("numbers", "null", {"instances": [None]}, 400),
    Case("numbers", "an object for a number", {"instances": [{"x": {"b64": "YQ=="}}]}, 400),
    Case("numbers", "a number for a truth value", several(b=1), 400),
    Case("strings", "text", text("é"), 200, "é"),
    Case("strings", "half a pair of surrogates", json.dumps(text("\ud800")).encode(), 400),
    Case("strings", "a number for a string", text(1), 400),
    Case("strings", "base64", text({"b64": "YWJj"}), 200, "abc"),
    Case("strings", "base64 with line breaks", text({"b64": "YW\r\nJj\n"}), 200, "abc"),
    Case("strings", "base64 with its padding", text({"b64": "YQ=="}), 200, "a"),
    Case("strings", "base64 without its padding", text({"b64": "YQ"}), 200, "a"),
    Case("strings", "base64 with points for padding", text({"b64": "YQ.."}), 200, "a"),
    Case("strings", "base64 with half of its padding", text({"b64": "YQ="}), 400),
    Case("strings", "base64 with too much padding", text({"b64": "YQ==="}), 400),
    Case("strings", "base64 of one letter", text({"b64": "Y"}), 400),
    Case("strings", "base64 for URLs", text({"b64": "-_8="}), 400),
    Case("strings", "base64 with another letter", text({"b64": "YW?j"}), 400),
    Case("strings", "base64 that is no text", text({"b64": 1}), 400),
    Case("strings", "base64 beside another key", text({"b64": "YQ==", "more": 1}), 400),
    Case(
        "strings", "bytes that are no UTF-8", b'{"signature_name": "several", "instances": ["\xff"]}', 400,
    ),
    Case(
        "strings", "bytes that are no UTF-8, in a good request",
        json.dumps(text("?")).encode().replace(b"?", b"\xff"), 200,
        ours=(400, "bytes that are no UTF-8 are refused: wanted `{\"b64\": ...}`"),
    ),
    Case("documents", "nothing", b"", 400),
    Case("documents", "half an object", b'{"instances": [1', 400),
    Case("documents", "no object", b"[1]", 400),
    Case("documents", "a comma too many", b'{"instances": [1,]}', 400),
    Case("documents", "single quotes", b"{'instances': [1]}", 400),
    Case("documents", "a byte-order mark", b'\xef\xbb\xbf{"instances": [1]}', 200, [1.0]),
    Case("documents", "blanks before it", b' \r\n\t{"instances": [1]}', 200, [1.0]),
    Case("documents", "bytes behind it", b'{"instances": [1]} and more', 200, [1.0]),
    Case("documents", "an object behind it", b'{"instances": [1]}{"instances": [2]}', 200, [1.0]),
    Case(
        "documents", "a key that is nested 100,000 deep", b'{"more": ' + b"[" * 100_000 + b"]" * 100_000
        + b', "instances": [1]}', 200, ours=(400, "nesting is limited to what Python's parser takes, about 1,000"),
    ),
    Case("addresses", "an unknown model", {"instances": [1]}, 404, path="/v1/models/no:predict"),
    Case("addresses", "an unknown version", {"instances": [1]}, 404, path="/v1/models/sums/versions/9:predict"),
    Case("addresses", "a version of 20 digits", {"instances": [1]}, 400, path=f"{_SUMS}/versions/{10**19}:predict"),
    Case("addresses", "an unknown label", {"instances": [1]}, 400, path="/v1/models/sums/labels/no:predict"),
    Case("addresses", "capital letters", {"instances": [1]}, 200, [1.0], path="/V1/Models/sums:Predict"),
    Case("addresses", "the state of an unknown model", None, 404, path="/v1/models/no"),
    Case("addresses", "the state of an unknown label", None, 400, path="/v1/models/sums/labels/no"),
    Case("addresses", "an unknown verb", {"instances": [1]}, 400, path="/v1/models/sums:no"),
    Case(
        "addresses", "GET for predict", None, 400, path=PREDICT, ours=(405, "a wrong method is 405"),
    ),
    Case(
        "addresses", "nothing that is there", {"instances": [1]}, 400, path="/v1/else",
        ours=(404, "an address that names nothing is 404"),
    ),
    Case(
        "addresses", "all models", None, 400, path="/v1/models", ours=(200, "`GET /v1/models` lists the models"),
    ),
    Case(
        "addresses", "classify", {"examples": [{}]}, 400, path="/v1/models/sums:classify",
        ours=(501, "classify and regress are not there"),
    ),
]  # fmt: skip


def table() -> str:
    """How many of the cases agree, and a line for each that does not."""
    lines = ["| what | cases | agree | otherwise here |", "|---|---|---|---|"]
    for group in dict.fromkeys(case.group for case in CASES):
        some = [case for case in CASES if case.group == group]
        others = [f"{case.name}: {case.ours[1]} ({case.ours[0]} for {case.theirs})" for case in some if case.ours]
        lines.append(f"| {group} | {len(some)} | {len(some) - len(others)} | {'; '.join(others) or 'nothing'} |")
    agree = sum(case.ours is None for case in CASES)
    return "\n".join([*lines, f"| together | {len(CASES)} | {agree} | |"])
