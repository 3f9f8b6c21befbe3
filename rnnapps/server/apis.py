"""TensorFlow Serving's own protocol buffers and stubs, imported without TensorFlow's Python.

Importing this module loads TensorFlow's C library, as importing TensorFlow does. It comes before the other modules of
the server, and says which package is missing.
"""

from __future__ import annotations

import importlib
from typing import Any

from rnnapps.errors import UsageError
from rnnapps.serving.c_session import load_library


def _imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UsageError(f"serve wants the extra: pip install 'rnnapps[serving]' ({error})") from error


# What is missing is said before the library is loaded, which takes a moment.
for _name in ("aiohttp", "prometheus_client", "tensorflow_serving"):
    _imported(_name)
grpc = _imported("grpc")
grpc_aio = _imported("grpc.aio")
json_format = _imported("google.protobuf.json_format")
text_format = _imported("google.protobuf.text_format")
try:
    load_library()
except RuntimeError as error:
    raise UsageError(f"serve: {error}") from error
tensor_pb2 = _imported("tensorflow.core.framework.tensor_pb2")
saved_model_pb2 = _imported("tensorflow.core.protobuf.saved_model_pb2")
get_model_metadata_pb2 = _imported("tensorflow_serving.apis.get_model_metadata_pb2")
get_model_status_pb2 = _imported("tensorflow_serving.apis.get_model_status_pb2")
model_pb2 = _imported("tensorflow_serving.apis.model_pb2")
model_service_pb2_grpc = _imported("tensorflow_serving.apis.model_service_pb2_grpc")
predict_pb2 = _imported("tensorflow_serving.apis.predict_pb2")
prediction_log_pb2 = _imported("tensorflow_serving.apis.prediction_log_pb2")
prediction_service_pb2_grpc = _imported("tensorflow_serving.apis.prediction_service_pb2_grpc")
model_server_config_pb2 = _imported("tensorflow_serving.config.model_server_config_pb2")
