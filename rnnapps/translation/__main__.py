"""`python -m rnnapps.translation`: hands this task to the command line."""

from rnnapps.cli import main

raise SystemExit(main("rnnapps.translation"))
