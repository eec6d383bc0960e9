"""The command line. Each command builds settings from options, calls one stage and prints a summary."""

import gc

# Imports make many objects and few cycles. The default of 700 makes garbage collection a tenth of a short command.
gc.set_threshold(50_000)
