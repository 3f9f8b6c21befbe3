"""`python -m rnnapps`: lists the tasks and the trained models that are shipped."""

from rnnapps.cli import overview

raise SystemExit(overview())
