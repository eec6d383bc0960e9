"""How models learn: objectives, optimizer, loop, fitters, resuming."""
