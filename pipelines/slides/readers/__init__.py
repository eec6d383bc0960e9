"""One file per kind of slide file; `opening` chooses the reader."""
