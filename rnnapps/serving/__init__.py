"""SavedModels that TF Serving runs: endpoints, export, and a check in TensorFlow's C API.

Importing this package imports no TensorFlow; its modules do when they are imported.
"""
