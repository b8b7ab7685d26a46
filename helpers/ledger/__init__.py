"""The claims: how they are written, by which rule they are decided, and their page."""
