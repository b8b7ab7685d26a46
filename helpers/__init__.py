"""The code behind the notebooks: data, models, training, judging, and running it all.

Pure functions first, thin drivers after. No library is imported here, so that the
command `prefbook --help` and each notebook load only what they use.
"""

import warnings

# tqdm says so at import wherever there is no widget; no page has one
warnings.filterwarnings("ignore", message="IProgress not found")
