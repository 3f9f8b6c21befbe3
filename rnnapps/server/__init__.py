"""A development stand-in for TensorFlow Serving, not TensorFlow Serving: SavedModels on its REST and gRPC API.

`python -m rnnapps serve` runs it. The process never imports TensorFlow's Python: models run in TensorFlow's C API
(`rnnapps.serving.c_session`). Importing this package, or `options`, imports nothing heavy.
"""
