"""Training with carried states: the trainer, its loop, checkpoints and evaluation."""
