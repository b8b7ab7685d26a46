"""From a finished run to a book: its generated pages, and the build."""
