"""From the records of a run to comparisons and tables. Nothing is trained here."""
