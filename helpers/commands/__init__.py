"""The commands of `prefbook`, and what they share.

What is refused is said in one line and ends with 2; a stage that fails ends with 1 and
the name of the notebook to open. Heavy libraries are imported where they are used, so
that the help comes at once.
"""
