"""One version of a model, loaded."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnnapps.data.vocabulary import Vocabulary, describe
from rnnapps.errors import UsageError
from rnnapps.server.checks import check_version
from rnnapps.server.signature import Signature, signatures
from rnnapps.server.status import Code, ServingError, from_tensorflow, invalid
from rnnapps.server.tensors import to_array
from rnnapps.server.warmup import FILE, warmup_requests
from rnnapps.serving.c_session import CSession, TensorFlowError

_DEFAULT = "serving_default"
# A warm-up file is the model's own, so its tensors are bounded by what a protocol buffer holds.
_LARGEST = 2**31 - 1


class Servable:
    """A SavedModel that answers. Made in a worker thread; `run` and `close` are for worker threads too.

    Args:
        name: The model's name.
        version: Its number.
        folder: Where it lies.
        root: What is served: nothing outside of it is read.
        threads: TensorFlow's threads.
        xla: Whether XLA may compile.

    Attributes:
        signatures: The endpoints by name.
        definitions: Their `SignatureDef` messages.

    Raises:
        ServingError: It does not load, or a warm-up request fails.
    """

    def __init__(self, name: str, version: int, folder: Path, root: Path, threads: int, xla: bool):
        self.name, self.version, self.folder = name, version, folder
        self._users = 0
        self._unused = asyncio.Event()
        self._unused.set()
        check_version(folder, root)
        try:
            # Operations run on one thread each and side by side, as `rnnapps.runtime` sets it for the tasks.
            self._session = CSession(folder, xla, inter_op_threads=threads, intra_op_threads=1, own_threads=True)
        except TensorFlowError as error:
            raise from_tensorflow(error) from error
        self.definitions: Mapping[str, Any] = self._session.signatures
        self.signatures = signatures(self.definitions)
        try:
            self._warm_up()
        except ServingError:
            self._session.close()
            raise

    def signature(self, name: str, missing: Code = Code.INVALID_ARGUMENT) -> Signature:
        """An endpoint.

        Raises:
            ServingError: With the code `missing`: there is none of that name.
        """
        try:
            return self.signatures[name or _DEFAULT]
        except KeyError:
            raise ServingError(missing, f'Serving signature key "{name or _DEFAULT}" not found.') from None

    def read_request(self, request: Any, limit: int) -> tuple[Signature, dict[str, np.ndarray], tuple[str, ...] | None]:
        """The endpoint, the inputs and the wanted outputs (None for all) of a `PredictRequest` message.

        Raises:
            ServingError: The model cannot take it.
        """
        signature = self.signature(request.model_spec.signature_name, Code.FAILED_PRECONDITION)
        given = {**signature.defaults, **request.inputs}
        inputs = {}
        for name, proto in given.items():
            try:
                inputs[name] = to_array(proto, limit)
            except ServingError as error:
                raise invalid(f"Input {name}: {error}") from error
        signature.check(inputs)
        return signature, inputs, signature.wanted_outputs(request.output_filter)

    def run(
        self,
        signature: Signature,
        inputs: Mapping[str, np.ndarray],
        outputs: Sequence[str] | None = None,
        timeout: float | None = None,
    ) -> dict[str, np.ndarray]:
        """Answers one request, or several that were joined, in so many seconds.

        Raises:
            ServingError: The model fails.
        """
        try:
            return self._session.run(signature.name, inputs, outputs, timeout)
        except TensorFlowError as error:
            raise from_tensorflow(error) from error
        except RuntimeError as error:  # a type that the C API's class does not know
            raise ServingError(Code.UNIMPLEMENTED, str(error)) from error

    @contextlib.contextmanager
    def used(self) -> Iterator[Servable]:
        """Keeps the version loaded inside of the `with`. For the event loop's thread."""
        self._users += 1
        self._unused.clear()
        try:
            yield self
        finally:
            self._users -= 1
            if not self._users:
                self._unused.set()

    async def unused(self) -> None:
        """Waits until no request uses the version."""
        await self._unused.wait()

    def close(self) -> None:
        """Frees the model."""
        self._session.close()

    @functools.cached_property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary of a text model, from the `manifest.json` that `export` wrote.

        Raises:
            ServingError: There is none, or it is damaged.
        """
        try:
            content = json.loads((self.folder / "manifest.json").read_text(encoding="utf-8"))
            return Vocabulary.from_dict(content["vocabulary"])
        except (OSError, ValueError, KeyError, TypeError, UsageError) as error:
            reason = f"its manifest.json has no vocabulary ({describe(error)})"
            raise ServingError(Code.UNIMPLEMENTED, f"model {self.name} is no text model: {reason}") from error

    def _warm_up(self) -> None:
        for i, request in enumerate(warmup_requests(self.folder)):
            try:
                self.run(*self.read_request(request, _LARGEST))
            except ServingError as error:
                raise ServingError(error.code, f"record {i} of {FILE.name} fails: {error}") from error
