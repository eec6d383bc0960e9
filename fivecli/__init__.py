"""The command line: flags to settings, one stage call, a summary."""
