"""Asks a server by gRPC: python client_grpc.py [HOST:PORT], with `pip install tensorflow-serving-api`."""

import base64
import json
import sys
from pathlib import Path

import grpc
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

DTYPES = {"prompt": "string", "num_chars": "int32", "temperature": "float32", "seed": "int32"}

address = sys.argv[1] if len(sys.argv) > 1 else "localhost:8500"
asked = json.loads(Path(__file__).with_name("request_column.json").read_text(encoding="utf-8"))
request = predict_pb2.PredictRequest()
request.model_spec.name = "shakespeare"
request.model_spec.signature_name = asked["signature_name"]
for key, rows in asked["inputs"].items():
    rows = [base64.b64decode(row["b64"]) if isinstance(row, dict) else row for row in rows]
    request.inputs[key].CopyFrom(tf.make_tensor_proto(rows, DTYPES[key]))
with grpc.insecure_channel(address) as channel:
    answer = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=60)
for key, value in sorted(answer.outputs.items()):
    print(key, tf.make_ndarray(value).tolist())
