"""Text in: where it comes from, its vocabulary, and the batches that a model reads.

`sources` names documents, `corpus` turns them into a folder of token ids, `text` cuts that into batches.
Importing this package imports none of them, and no TensorFlow.
"""
