"""The gRPC API, asked with TensorFlow Serving's own stubs."""

from __future__ import annotations

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

Code = grpc.StatusCode


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(server.grpc) as channel:
        yield channel


@pytest.fixture(scope="module")
def stub(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


def _request(signature="", version=None, label=None, model="sums", outputs=(), **inputs):
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = model, signature
    if version is not None:
        request.model_spec.version.value = version
    if label is not None:
        request.model_spec.version_label = label
    request.output_filter.extend(outputs)
    for name, value in inputs.items():
        proto = value if hasattr(value, "dtype") and hasattr(value, "tensor_shape") else tf.make_tensor_proto(value)
        request.inputs[name].CopyFrom(proto)
    return request


def _several(rows=2):
    values = {"i": np.arange(rows, dtype=np.int32), "f": np.ones((rows, 2), np.float32), "b": np.ones(rows, bool)}
    return {**values, "s": np.array([b"\xff\0"] * rows, object)}


def test_predict(stub):
    answer = stub.Predict(_request(x=np.array([1, 2], np.float32)))
    assert tf.make_ndarray(answer.outputs["y"]).tolist() == [1, 2]
    assert answer.outputs["y"].float_val == [1, 2]  # typed, as the server answers
    spec = answer.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("sums", 1, "serving_default")
    for chosen in ({"version": 1}, {"label": "stable"}):
        assert stub.Predict(_request(x=np.zeros(1, np.float32), **chosen)).outputs["y"].float_val == [0]


def test_all_types_and_the_output_filter(stub):
    answer = stub.Predict(_request("several", **_several()))
    outputs = {name: tf.make_ndarray(proto) for name, proto in answer.outputs.items()}
    assert outputs["total"].tolist() == [[1, 1], [2, 2]] and outputs["not"].tolist() == [False, False]
    assert outputs["same_bytes"].tolist() == [b"\xff\0"] * 2
    assert list(stub.Predict(_request("several", outputs=["not"], **_several())).outputs) == ["not"]


def test_one_value_stands_for_all(stub):
    proto = tf.make_tensor_proto(7.0, shape=(3,))
    assert len(proto.float_val) == 1
    assert stub.Predict(_request(x=proto)).outputs["y"].float_val == [7, 7, 7]


ONE = np.ones(1, np.float32)


@pytest.mark.parametrize(
    ("code", "words", "request_"),
    [
        (Code.NOT_FOUND, r"Servable not found for request: Latest\(nope\)", {"model": "nope", "x": ONE}),
        (Code.NOT_FOUND, r"Specific\(sums, 7\)", {"version": 7, "x": ONE}),
        (Code.INVALID_ARGUMENT, "label: canary", {"label": "canary", "x": ONE}),
        (Code.FAILED_PRECONDITION, 'Serving signature key "nope" not found.', {"signature": "nope", "x": ONE}),
        (Code.INVALID_ARGUMENT, "Sent extra: {z}. Missing but required: {x}", {"z": ONE}),
        (Code.INVALID_ARGUMENT, "Sent extra: {z}", {"x": ONE, "z": ONE}),
        (Code.INVALID_ARGUMENT, "has the type int32: wanted float32", {"x": np.ones(1, np.int32)}),
        (Code.INVALID_ARGUMENT, "has the type string: wanted float32", {"x": np.array([b"1"], object)}),
        (Code.INVALID_ARGUMENT, r"has the shape \[1, 1\]", {"x": np.ones((1, 1), np.float32)}),
        (Code.INVALID_ARGUMENT, "alias not found in signature: z", {"x": ONE, "outputs": ["z"]}),
        (Code.INVALID_ARGUMENT, "duplicate output", {"x": ONE, "outputs": ["y", "y"]}),
        (Code.INVALID_ARGUMENT, "type number 8", {"x": np.array([1j], np.complex64)}),
        (Code.INVALID_ARGUMENT, "larger than", {"x": tf.make_tensor_proto(1.0, shape=(2**30,))}),
        (Code.INVALID_ARGUMENT, "as many rows", {"signature": "several", **_several(), "i": np.zeros(3, np.int32)}),
        (Code.INVALID_ARGUMENT, "assertion failed", {"signature": "picky", "x": -ONE}),
        (Code.INVALID_ARGUMENT, "Missing ModelSpec", None),
    ],
)
def test_bad_requests_have_codes(stub, code, words, request_):
    request = predict_pb2.PredictRequest() if request_ is None else _request(**request_)
    with pytest.raises(grpc.RpcError, match=words) as caught:
        stub.Predict(request, timeout=60)
    assert caught.value.code() == code


def test_metadata_and_status(stub, channel):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "sums"
    answer = stub.GetModelMetadata(request)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(signatures) and answer.model_spec.version.value == 1
    assert set(signatures.signature_def["several"].inputs) == {"i", "f", "s", "b"}
    request.metadata_field[:] = ["weights"]
    with pytest.raises(grpc.RpcError) as caught:
        stub.GetModelMetadata(request)
    assert caught.value.code() == Code.INVALID_ARGUMENT
    service = model_service_pb2_grpc.ModelServiceStub(channel)
    asked = get_model_status_pb2.GetModelStatusRequest()
    asked.model_spec.name = "sums"
    (status,) = service.GetModelStatus(asked).model_version_status
    assert (status.version, status.state) == (1, get_model_status_pb2.ModelVersionStatus.AVAILABLE)
    asked.model_spec.name = "nope"
    with pytest.raises(grpc.RpcError) as caught:
        service.GetModelStatus(asked)
    assert caught.value.code() == Code.NOT_FOUND
    with pytest.raises(grpc.RpcError) as caught:
        stub.Classify(classification_pb2.ClassificationRequest())
    assert caught.value.code() == Code.UNIMPLEMENTED
