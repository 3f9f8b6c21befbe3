"""TensorFlow Serving's gRPC API: `PredictionService` and `ModelService`, on its own stubs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from typing import Any

from rnnapps.errors import UsageError
from rnnapps.server.apis import (
    get_model_metadata_pb2,
    grpc,
    grpc_aio,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)
from rnnapps.server.manager import Manager
from rnnapps.server.metrics import Metrics
from rnnapps.server.options import ServerOptions
from rnnapps.server.pages import is_ready
from rnnapps.server.rest import signature_map
from rnnapps.server.scheduler import Scheduler
from rnnapps.server.status import Code, ServingError, invalid
from rnnapps.server.tensors import to_proto

_LOG = logging.getLogger(__name__)
_SIGNATURES = "signature_def"
_SERVING, _NOT_SERVING = 1, 2
_CODES = {code.value[0]: code for code in grpc.StatusCode}


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict and GetModelMetadata; the calls on tf.Example are not served."""

    def __init__(self, manager: Manager, scheduler: Scheduler, metrics: Metrics, limit: int):
        self._manager, self._scheduler, self._metrics, self._limit = manager, scheduler, metrics, limit

    async def Predict(self, request: Any, context: Any) -> Any:
        async with _answering(request, context, self._manager, self._metrics, "Predict"):
            with self._manager.use(*_spec(request)) as servable:
                signature, inputs, wanted = servable.read_request(request, self._limit)
                outputs = await self._scheduler.run(servable, signature, inputs, wanted)
                answer = predict_pb2.PredictResponse()
                answer.model_spec.name, answer.model_spec.signature_name = servable.name, signature.name
                answer.model_spec.version.value = servable.version
                for name, array in outputs.items():
                    answer.outputs[name].CopyFrom(to_proto(array))
                return answer

    async def GetModelMetadata(self, request: Any, context: Any) -> Any:
        async with _answering(request, context, self._manager, self._metrics, "GetModelMetadata"):
            if list(request.metadata_field) != [_SIGNATURES]:
                fields = list(request.metadata_field)
                raise invalid(f"metadata_field is {fields}: wanted [{_SIGNATURES!r}]")
            with self._manager.use(*_spec(request)) as servable:
                answer = get_model_metadata_pb2.GetModelMetadataResponse()
                answer.model_spec.name = servable.name
                answer.model_spec.version.value = servable.version
                answer.metadata[_SIGNATURES].Pack(signature_map(servable))
                return answer

    async def Classify(self, request: Any, context: Any) -> Any:
        await _refuse(context)

    async def Regress(self, request: Any, context: Any) -> Any:
        await _refuse(context)

    async def MultiInference(self, request: Any, context: Any) -> Any:
        await _refuse(context)


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus; the configuration is not changed from outside."""

    def __init__(self, manager: Manager, metrics: Metrics):
        self._manager, self._metrics = manager, metrics

    async def GetModelStatus(self, request: Any, context: Any) -> Any:
        async with _answering(request, context, self._manager, self._metrics, "GetModelStatus"):
            return self._manager.statuses(*_spec(request))

    async def HandleReloadConfigRequest(self, request: Any, context: Any) -> Any:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "the configuration is read when the server starts")


async def start(manager: Manager, scheduler: Scheduler, metrics: Metrics, options: ServerOptions) -> tuple[Any, int]:
    """Starts the gRPC server; returns it and its port.

    Raises:
        UsageError: The port is taken.
    """
    limits = [
        ("grpc.max_receive_message_length", options.max_request_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.so_reuseport", 0),  # else a second server takes a part of the requests
    ]
    server = grpc_aio.server(options=limits)
    service = PredictionService(manager, scheduler, metrics, options.max_request_bytes)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(ModelService(manager, metrics), server)
    server.add_generic_rpc_handlers((_health(manager),))
    host = f"[{options.host}]" if ":" in options.host else options.host
    try:
        port = server.add_insecure_port(f"{host}:{options.grpc_port}")
    except RuntimeError as error:
        raise UsageError(f"--grpc-port {options.grpc_port}: cannot listen on {options.host} there") from error
    await server.start()
    return server, port


def _health(manager: Manager) -> Any:
    """The service `grpc.health.v1.Health` (Check): of the server, whose name is "", or of a model by its name.

    Its messages are a string and a number, so that they are written here, and one package less is wanted.
    """

    async def check(service: str, context: Any) -> int:
        if not service:
            return _SERVING if is_ready(manager.models) else _NOT_SERVING
        if service not in manager.models:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no model {service}")
        return _SERVING if manager.models[service].available() else _NOT_SERVING

    def asked(message: bytes) -> str:
        # Field 1, the length of a name, in two bytes from 128 on, and the name.
        return message[3 if message[1:2] >= b"\x80" else 2 :].decode(errors="replace")

    handler = grpc.unary_unary_rpc_method_handler(check, asked, lambda status: bytes([8, status]))
    return grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": handler})


@contextlib.asynccontextmanager
async def _answering(request: Any, context: Any, manager: Manager, metrics: Metrics, api: str) -> AsyncIterator[None]:
    """Turns what is raised inside into a status, and counts the call."""
    begun, status = time.perf_counter(), "OK"
    name = request.model_spec.name
    try:
        yield
    except ServingError as error:
        status = error.code.name
        await context.abort(_CODES[error.code], str(error))
    except asyncio.CancelledError:
        status = Code.CANCELLED.name
        raise
    except Exception as error:
        status = Code.INTERNAL.name
        _LOG.exception("%s failed", api)
        await context.abort(grpc.StatusCode.INTERNAL, f"{type(error).__name__} in the server, see its log")
    finally:
        model = name if name in manager.models else ""
        metrics.answered(model, api if model else "", "GRPC", status, time.perf_counter() - begun)


async def _refuse(context: Any) -> None:
    message = "classify and regress want signatures of tf.Example, which are not served: use Predict"
    await context.abort(grpc.StatusCode.UNIMPLEMENTED, message)


def _spec(request: Any) -> tuple[str, int | None, str | None]:
    """Name, version and label that a request asks for."""
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    spec = request.model_spec
    choice = spec.WhichOneof("version_choice")
    version = spec.version.value if choice == "version" else None
    return spec.name, version, spec.version_label if choice == "version_label" else None
