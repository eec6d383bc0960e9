"""The command line. Each command builds settings from options, calls one stage and prints a summary."""

import gc

# Imports make many objects and few cycles. With the default of 700, garbage collection takes 10 % of the time of a
# short command.
gc.set_threshold(50_000)
