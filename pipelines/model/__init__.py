"""The FiVE model: text side, task-specific fine-grained semantics, fusion, losses, bags, splits, metrics."""
