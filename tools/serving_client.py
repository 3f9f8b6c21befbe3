"""Clients of a served model, on TensorFlow Serving's own API: they ask its server and `rnnapps serve` alike.

    python tools/serving_client.py predict --model shakespeare \\
        --inputs '{"prompt": ["ROMEO:"], "num_chars": [80], "temperature": [0.7], "seed": [1]}'
    python tools/serving_client.py grpc --model shakespeare --inputs '...'     the same over gRPC
    python tools/serving_client.py stream --manifest saved_models/shakespeare/2/manifest.json --prompt ROMEO:

`stream` writes text as it comes: it asks the endpoint `step` for one token at a time, keeps the model's state itself
and draws as the model's `serving_default` does, so the server keeps nothing between two requests.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from rnnapps.data.vocabulary import Vocabulary
from rnnapps.errors import RnnappsError, RunError, UsageError
from rnnapps.step_writer import StepWriter


class RestClient:
    """A connection to the REST API of one model.

    Args:
        url: Where the server is, such as "http://localhost:8501".
        model: The model's name.

    Raises:
        UsageError: `url` is none of HTTP.
    """

    def __init__(self, url: str, model: str):
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise UsageError(f"--url {url}: wanted http://HOST:PORT")
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port or 8501, timeout=300)
        self._model = f"/v1/models/{model}"

    def predict(self, inputs: Mapping[str, Any], signature: str = "serving_default") -> dict[str, Any]:
        """Outputs by name, of inputs by name: nested lists, all rows of an input together.

        Raises:
            RunError: The server refuses, or is not there.
        """
        answer = self._ask("POST", ":predict", {"signature_name": signature, "inputs": inputs})["outputs"]
        if isinstance(answer, dict):
            return answer
        (name,) = self._signature(signature)["outputs"]  # a single output comes without its name
        return {name: answer}

    def stream(
        self, vocabulary: Vocabulary, prompt: str, num_chars: int, temperature: float, seed: int
    ) -> Iterator[str]:
        """Pieces of the text that goes on from a prompt.

        Raises:
            RunError: The server refuses, or is not there.
        """
        inputs = self._signature("step")["inputs"]
        shapes = {
            name: [1, *(int(dim["size"]) for dim in info["tensor_shape"]["dim"][1:])]
            for name, info in inputs.items()
            if name != "tokens"
        }
        writer = StepWriter(vocabulary, shapes, prompt, num_chars, temperature, seed)
        while (asked := writer.inputs()) is not None:
            answer = self.predict({name: array.tolist() for name, array in asked.items()}, "step")
            if piece := writer.take({name: np.array(values, np.float32) for name, values in answer.items()}):
                yield piece

    def close(self) -> None:
        self._connection.close()

    def _signature(self, name: str) -> dict[str, Any]:
        signatures = self._ask("GET", "/metadata")["metadata"]["signature_def"]["signature_def"]
        if name not in signatures:
            raise RunError(f"the model has no signature {name}, only {', '.join(sorted(signatures))}")
        return signatures[name]

    def _ask(self, method: str, what: str, body: Any = None) -> dict[str, Any]:
        try:
            self._connection.request(method, self._model + what, None if body is None else json.dumps(body))
            answer = self._connection.getresponse()
            content = json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise RunError(f"no answer of the server ({error})") from error
        if answer.status != 200:
            raise RunError(f"the server says {answer.status}: {content.get('error')}")
        return content


def grpc_predict(
    address: str, model: str, inputs: Mapping[str, Any], signature: str = "serving_default"
) -> dict[str, np.ndarray]:
    """Outputs by name over gRPC, of inputs by name: nested lists, or arrays.

    Args:
        address: Such as "localhost:8500".
        model: The model's name.
        inputs: All rows of an input together; strings as `str` or bytes.
        signature: The endpoint.

    Raises:
        RunError: The server refuses, or is not there.
        UsageError: The packages of the extra `serving` are not installed.
    """
    from rnnapps.server import apis
    from rnnapps.server.signature import Spec, signatures
    from rnnapps.server.tensors import to_array, to_proto
    from rnnapps.serving.c_session import STRING, TYPES, numpy_type

    def array(value: Any, spec: Spec) -> np.ndarray:
        if spec.dtype != STRING:
            return np.asarray(value, numpy_type(TYPES[spec.dtype]))
        strings = np.array(value, object)
        flat = [item.encode() if isinstance(item, str) else item for item in strings.reshape(-1)]
        return np.array(flat, object).reshape(strings.shape)

    try:
        with apis.grpc.insecure_channel(address) as channel:
            stub = apis.prediction_service_pb2_grpc.PredictionServiceStub(channel)
            about = apis.get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
            about.model_spec.name = model
            found = apis.get_model_metadata_pb2.SignatureDefMap()
            stub.GetModelMetadata(about, timeout=300).metadata["signature_def"].Unpack(found)
            known = signatures(found.signature_def)
            request = apis.predict_pb2.PredictRequest()
            request.model_spec.name, request.model_spec.signature_name = model, signature
            specs = known[signature].inputs if signature in known else {}
            for name, value in inputs.items():
                if name in specs:  # the server says what it thinks of others
                    request.inputs[name].CopyFrom(to_proto(array(value, specs[name])))
            answer = stub.Predict(request, timeout=300)
    except apis.grpc.RpcError as error:
        raise RunError(f"the server says {error.code().name}: {error.details()}") from error
    return {name: to_array(proto, 2**31) for name, proto in answer.outputs.items()}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--model", default="shakespeare", help="its name (default %(default)s)")
    asked = argparse.ArgumentParser(add_help=False)
    asked.add_argument("--signature", default="serving_default", help="the endpoint (default %(default)s)")
    asked.add_argument("--inputs", required=True, help="JSON object: name to rows")
    rest = argparse.ArgumentParser(add_help=False)
    rest.add_argument("--url", default="http://localhost:8501", help="the REST API (default %(default)s)")
    commands.add_parser("predict", parents=[shared, asked, rest], help="one request over REST")
    over_grpc = commands.add_parser("grpc", parents=[shared, asked], help="one request over gRPC")
    over_grpc.add_argument("--address", default="localhost:8500", help="the gRPC API (default %(default)s)")
    stream = commands.add_parser("stream", parents=[shared, rest], help="text as it is written")
    stream.add_argument("--manifest", type=Path, required=True, help="manifest.json of the export, with its vocabulary")
    stream.add_argument("--prompt", default="", help="what the text goes on from")
    stream.add_argument("--num-chars", type=int, default=300, help="(default %(default)s)")
    stream.add_argument("--temperature", type=float, default=0.8, help="(default %(default)s)")
    stream.add_argument("--seed", type=int, default=0, help="(default %(default)s)")
    return parser


def _stream(options: argparse.Namespace) -> None:
    try:
        content = json.loads(options.manifest.read_text(encoding="utf-8"))
        vocabulary = Vocabulary.from_dict(content["vocabulary"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"--manifest {options.manifest} holds no vocabulary ({error})") from error
    settings = (options.prompt, options.num_chars, options.temperature, options.seed)
    with contextlib.closing(RestClient(options.url, options.model)) as client:
        for piece in client.stream(vocabulary, *settings):
            print(piece, end="", flush=True)
    print()


def _ask(options: argparse.Namespace) -> None:
    try:
        inputs = json.loads(options.inputs)
    except ValueError as error:
        raise UsageError(f"--inputs is no JSON ({error})") from error
    if not isinstance(inputs, dict):
        raise UsageError("--inputs is no JSON object: wanted names with their rows")
    if options.command == "grpc":
        answer = grpc_predict(options.address, options.model, inputs, options.signature)
        shown = {name: [_shown(item) for item in array.tolist()] for name, array in sorted(answer.items())}
    else:
        with contextlib.closing(RestClient(options.url, options.model)) as client:
            shown = client.predict(inputs, options.signature)
    print(json.dumps(shown, ensure_ascii=False))


def _shown(item: Any) -> Any:
    if isinstance(item, list):
        return [_shown(part) for part in item]
    return item.decode("utf-8", "replace") if isinstance(item, bytes) else item


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        _stream(options) if options.command == "stream" else _ask(options)
    except RnnappsError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
