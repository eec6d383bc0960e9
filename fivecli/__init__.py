"""The command line: flags to settings, one stage call, a summary."""

import gc

# Importing makes many objects and few cycles; looking for cycles after every 700 takes a tenth of a short command.
gc.set_threshold(50_000)
