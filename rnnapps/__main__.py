"""`python -m rnnapps`: lists the tasks and the shipped models, and runs the commands of no one task."""

from rnnapps.cli import overview

raise SystemExit(overview())
