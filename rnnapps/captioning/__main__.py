"""`python -m rnnapps.captioning`: hands this task to the command line."""

from rnnapps.cli import main

raise SystemExit(main("rnnapps.captioning"))
