"""Figures of the book, drawn by seaborn from tidy records."""
