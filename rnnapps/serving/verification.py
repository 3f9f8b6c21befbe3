"""Tries a SavedModel as a server would use it, in TensorFlow's C++ runtime and beside TensorFlow in Python.

The requests are those of its warm-up file. Each is asked alone, and all of an endpoint together in one batch, padded as
the server pads them; the answers in C++, in Python, alone, together and a second time have to be the same.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import absl.logging
import numpy as np
import tensorflow as tf

from rnnapps.errors import RunError
from rnnapps.files import versions
from rnnapps.serving import scan, server_files, sums, warmup
from rnnapps.serving.capi import NoLibrary, run_in_c_api
from rnnapps.serving.comparison import Answer, alike, check_expected, cut, padded, same, short
from rnnapps.serving.options import Verify
from rnnapps.serving.saved_model import Endpoint, describe, is_xla, load_endpoints, servables

Request = tuple[str, dict[str, np.ndarray]]

# Other shapes of a product are summed in another order; compiled code also has other exponentials.
_TIMEOUT = 600  # seconds
_TOLERANCE, _XLA_TOLERANCE = 1e-4, 5e-3


@dataclass(frozen=True)
class Check:
    """What one check found.

    Attributes:
        name: What was checked.
        passed: Whether all was well; None where it was not tried.
        detail: A sentence about it.
        seconds: What it took.
    """

    name: str
    passed: bool | None
    detail: str
    seconds: float


class Verification:
    """The checks of one SavedModel, each of which needs those before it.

    Args:
        path: Its folder, `NAME/VERSION`.
        xla: Whether it is for a server with XLA switched on. Default: what its manifest says.
    """

    def __init__(self, path: Path, xla: bool | None = None):
        self.path = path
        self.xla = is_xla(path) if xla is None else xla
        self.tolerance = _XLA_TOLERANCE if self.xla else _TOLERANCE
        self.requests: list[Request] = []
        self.answers: list[Answer] = []
        self.in_cpp: list[Answer] = []
        self.endpoints: dict[str, Endpoint] = {}

    def run(self) -> list[Check]:
        """Checks one thing after the other; after one that fails, the rest is not tried."""
        found: list[Check] = []
        for name, check in self._checks():
            started = time.monotonic()
            if first_failure(found):
                found.append(Check(name, None, "not tried", 0.0))
                continue
            passed: bool | None
            try:
                passed, detail = True, check()
            except NoLibrary as error:
                passed, detail = None, f"left out: {error}"
            except RunError as error:
                passed, detail = False, str(error)
            found.append(Check(name, passed, detail, time.monotonic() - started))
        return found

    def _checks(self) -> Iterator[tuple[str, Callable[[], str]]]:
        yield "files", self._files
        yield "operations", self._operations
        yield "rows first", self._rows_first
        yield "warm-up", self._warmup
        yield "C++ = Python", self._same_in_cpp
        yield "together = alone", self._same_together
        yield "twice = once", self._same_twice
        if self._is_export() and self._is_highest():  # whose answer the clients are told
            yield "expected answer", self._expected

    def _is_export(self) -> bool:
        """Whether `export` wrote it, and not anything else that writes SavedModels."""
        return (self.path / sums.FILE).is_file() or (self.path.parent / "MODEL_CARD.md").is_file()

    def _is_highest(self) -> bool:
        return self.path.name.isdecimal() and versions(self.path.parent)[-1:] == [int(self.path.name)]

    def _files(self) -> str:
        self._graphs = scan.check_files(self.path)
        size = sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())
        told = f"{size / 1e6:.1f} MB, all inside the folder"
        if self._is_export():
            told += f", {sums.check(self.path)} as they were exported"
            if not (self.path / "manifest.json").is_file():
                raise RunError(f"{self.path} has no manifest.json: wanted what export wrote")
        server_files.check_batching(self.path)
        return told

    def _operations(self) -> str:
        scan.check_operations(self._graphs, self.xla)
        return "none that a server cannot run" + ("" if self.xla else ", none that wants XLA")

    def _rows_first(self) -> str:
        self.endpoints = load_endpoints(self.path)
        for key, endpoint in self.endpoints.items():
            check_rows_first(key, describe(endpoint.function))
        return ", ".join(self.endpoints)

    def _warmup(self) -> str:
        logged = warmup.read(self.path)
        for one in logged:
            self._check_request(one.endpoint, one.inputs)
        missing = sorted(set(self.endpoints) - {one.endpoint for one in logged})
        if missing:
            raise RunError(f"{self.path / warmup.FILE} asks nothing of {', '.join(missing)}: wanted all endpoints")
        self.requests = [(one.endpoint, one.inputs) for one in logged]
        return f"{len(logged)} requests, each fits its endpoint"

    def _check_request(self, key: str, inputs: Answer) -> None:
        if key not in self.endpoints:
            raise RunError(f"a warm-up request asks for endpoint {key!r}: wanted one of {', '.join(self.endpoints)}")
        (wanted,) = self.endpoints[key].input_signature
        if set(inputs) != set(wanted):
            raise RunError(f"a warm-up request for {key!r} has {sorted(inputs)}: wanted {sorted(wanted)}")

    def _same_in_cpp(self) -> str:
        """Each request alone, all of an endpoint together, and once more: in two processes."""
        asked = [*self.requests, *(request for _, request in self._together())]
        self.answers = [self.ask(key, inputs) for key, inputs in asked]
        self.in_cpp = run_in_c_api(self.path, [*asked, *asked], _TIMEOUT, self.xla)
        for (key, inputs), ours, theirs in zip(asked, self.answers, self.in_cpp, strict=False):
            self._checksame(f"{key!r} in C++", inputs, theirs, ours)
        rows = sorted({_rows(inputs) for _, inputs in asked})
        return f"{len(asked)} requests of {' or '.join(map(str, rows))} rows, XLA {'on' if self.xla else 'off'}"

    def _same_together(self) -> str:
        """What each gets alone is what it gets beside others."""
        offset = len(self.requests)
        for (members, (key, inputs)), joint in zip(self._together(), self.answers[offset:], strict=True):
            first = 0
            for member in members:
                alone = self.answers[member]
                rows = _rows(self.requests[member][1])
                own = {name: cut(value[first : first + rows], alone[name].shape) for name, value in joint.items()}
                self._checksame(f"{key!r} beside others", inputs, own, alone)
                first += rows
        return "padded as the server pads" if server_files.pads(self.path) else "requests of one length"

    def _same_twice(self) -> str:
        count = len(self.answers)
        if not self.in_cpp:  # as TensorFlow's library cannot be loaded here
            asked = [*self.requests, *(request for _, request in self._together())]
            self.in_cpp = [*self.answers, *(self.ask(key, inputs) for key, inputs in asked)]
        for first, second in zip(self.in_cpp[:count], self.in_cpp[count:], strict=True):
            self._checksame("the same request, once more,", {}, second, first)
        return "nothing is kept between requests"

    def _expected(self) -> str:
        def dtypes(key: str) -> dict[str, Any]:
            (wanted,) = self.endpoints[key].input_signature
            return {name: spec.dtype.as_numpy_dtype for name, spec in wanted.items()}

        return check_expected(self.path.parent / "client", dtypes, self.ask, self.tolerance)

    def _together(self) -> list[tuple[list[int], Request]]:
        """For each endpoint the places of its requests of one row, and the request that they are together."""
        found = []
        for key in self.endpoints:
            members = [i for i, (name, inputs) in enumerate(self.requests) if name == key and _rows(inputs) == 1]
            if not server_files.pads(self.path):
                members = alike(members, [inputs for _, inputs in self.requests])
            if members:
                # Three rows, of fewer requests too: those of a later one and of the first.
                members = (members[:3] * 3)[:3]
                names = self.requests[members[0]][1]
                joint = {name: padded([self.requests[i][1][name] for i in members]) for name in names}
                found.append((members, (key, joint)))
        return found

    def ask(self, key: str, inputs: Answer) -> Answer:
        """The answer of the loaded model to a request, in Python.

        Raises:
            RunError: It fails, or does not have a row for each that was asked.
        """
        try:
            answer = self.endpoints[key]({name: tf.convert_to_tensor(value) for name, value in inputs.items()})
        except (tf.errors.OpError, TypeError, ValueError) as error:
            raise RunError(f"a request for endpoint {key!r} fails: {str(error).partition(chr(10))[0]}") from error
        for name, value in answer.items():
            if value.shape[0] != _rows(inputs):
                raise RunError(f"output {name!r} of endpoint {key!r} has {len(value)} rows for {_rows(inputs)}")
        return {name: value.numpy() for name, value in answer.items()}

    def _checksame(self, what: str, inputs: Answer, found: Answer, wanted: Answer) -> None:
        for name, value in wanted.items():
            if not same(found[name], value, self.tolerance):
                raise RunError(f"output {name!r} of {what} is {short(found[name])}: wanted {short(value)}")


def check_rows_first(key: str, endpoint: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> None:
    """Checks that an endpoint has one row for each request in the first axis of each input and output.

    A server joins the requests of several clients there, and cuts the outputs again.

    Args:
        key: Its name.
        endpoint: As `saved_model.describe` gives it.

    Raises:
        RunError: An input or output has no such axis.
    """
    for side, tensors in endpoint.items():
        for name, spec in tensors.items():
            if not spec["shape"] or spec["shape"][0] is not None:
                raise RunError(f"{name!r} in the {side} of {key!r} has the shape {spec['shape']}: wanted [None, ...]")


def verify(path: str | os.PathLike[str], xla: bool | None = None) -> list[Check]:
    """Tries a SavedModel as a server would use it.

    Args:
        path: Its folder, `NAME/VERSION`.
        xla: Whether it is for a server with XLA switched on. Default: what its manifest says.

    Returns:
        What was checked, in order; after a check that fails the rest is not tried.
    """
    return Verification(Path(path), xla).run()


def first_failure(checks: Sequence[Check]) -> Check | None:
    """The check that failed, if one did."""
    return next((check for check in checks if check.passed is False), None)


def table(checks: Sequence[Check]) -> str:
    """The checks as lines of text."""
    words = {True: "passed", False: "FAILED", None: "-"}
    width = max(len(check.name) for check in checks)
    lines = [f"{one.name:{width}}  {words[one.passed]:6}  {one.seconds:6.1f} s  {one.detail}" for one in checks]
    return "\n".join(lines)


def _rows(inputs: Answer) -> int:
    return len(next(iter(inputs.values())))


def run(options: Verify) -> None:
    """`python -m rnnapps verify PATH`: prints the checks of each version in a folder.

    Raises:
        UsageError: There is no SavedModel there.
        RunError: A check failed.
    """
    # A loaded export has no gradient of its loops, which TensorFlow warns of and nobody here asks for.
    absl.logging.set_verbosity(absl.logging.ERROR)
    failed, left_out = [], False
    for path in servables(options.path):
        checks = verify(path)
        left_out |= any(check.passed is None for check in checks)
        failed += [path] if first_failure(checks) else []
        if options.json:
            print(json.dumps({"path": os.fspath(path), "checks": [vars(check) for check in checks]}))
        else:
            print(f"{path}\n{table(checks)}\n", flush=True)
    if failed:
        raise RunError(f"{', '.join(map(str, failed))} failed: a server may not answer as Python does")
    if not options.json:
        print("all checks passed" + (", but for those that were left out" if left_out else ""), file=sys.stderr)
