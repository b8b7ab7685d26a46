"""The built-in corpus: its phrases, its dialogues, and the true reward of any reply."""
