"""The code behind the notebooks: data, models, training, judging, and running it all.

Pure functions first, thin drivers after. Nothing is imported here, so that the command
`prefbook --help` and each notebook load only what they use.
"""
