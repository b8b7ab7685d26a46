"""The losses and estimators as pure functions of tensors, each with its equation.

Nothing here knows of models, texts or devices. B is a number of episodes or pairs, T a
number of reply tokens, V the vocabulary; masks are boolean, True at real reply tokens,
and may pad on either side. Log-probabilities are in nats.
"""
