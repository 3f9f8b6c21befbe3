"""`python -m rnnapps.text_generation`: hands this task to the command line."""

from rnnapps.cli import main

raise SystemExit(main("rnnapps.text_generation"))
