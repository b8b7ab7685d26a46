"""The losses and estimators as pure functions of tensors, each with its equation."""
