"""Preference pairs: HH-RLHF, the built-in corpus, code pairs. No model reads them here."""
