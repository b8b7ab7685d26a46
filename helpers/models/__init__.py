"""Language models at work: loading, encoding, sampling, reading. Nothing is trained here."""
