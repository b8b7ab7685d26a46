"""How far a stage is, in one line, and quiet about everything else.

In a notebook the line is replaced, not repeated; a file beside it tells the command.
"""

import os
import sys
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from helpers.core.atomic import write_json

if TYPE_CHECKING:
    from transformers import TrainerCallback

# the environment variable that tells trainings where else to log, here and in workers
REPORT_TO = "PREFBOOK_REPORT_TO"


class Line:
    """How far a stage is: one line in its notebook, and a file that the command reads.

    In a notebook the line is replaced, not repeated, so the saved notebook holds its
    last state. The file holds {"done", "total", "note", "seconds"}.
    """

    def __init__(self, label: str, file: Path | None = None) -> None:
        self.label, self.file = label, file
        self.started = time.monotonic()
        self.begin(0, 0)

    def begin(self, total: int, done: int) -> None:
        """Start a grid of `total` jobs of which `done` were finished before."""
        self.total = total
        self.done = self.before = done
        self.note, self.handle, self.shown = "", None, 0.0
        self.grid_started = time.monotonic()
        if total:
            self.show()

    def one_done(self) -> None:
        """One more job is finished."""
        self.done += 1
        self.note = ""
        self.show()

    def end(self) -> None:
        """The grid is finished."""
        self.note = ""
        self.show()

    def step(self, done: int, total: int, note: str) -> None:
        """A job in this process is at `done` of `total`; shown twice a second."""
        self.note = f"{note} {done}/{total}".strip()
        if time.monotonic() - self.shown > 0.5:
            self.show()

    def text(self) -> str:
        """The line: `04_reward_model: 18/18 jobs, 214 s (3 already done)`."""
        parts = [f"{self.done}/{self.total} jobs"] if self.total else []
        parts += [self.note] if self.note else []
        parts += [f"{time.monotonic() - self.grid_started:.0f} s"]
        before = f" ({self.before} already done)" if self.before else ""
        return f"{self.label}: {', '.join(parts)}{before}"

    def show(self) -> None:
        """Replace the line in the notebook, if this is one, and write the file."""
        self.shown = time.monotonic()
        if self.file:
            state = {"done": self.done, "total": self.total, "note": self.note}
            state["seconds"] = round(self.shown - self.started, 1)
            write_json(state, self.file)
        if not in_notebook():
            return
        from IPython.display import display

        data = {"text/plain": self.text()}
        if self.handle is None:
            self.handle = display(data, raw=True, display_id=True)
        else:
            self.handle.update(data, raw=True)


class Progress:
    """How far one long job is: call it with steps done and steps in all.

    It shows only where the job runs in the process of its notebook; in a worker process
    it does nothing.
    """

    line: Line | None = None  # where the running job shows; set by the grid

    def __init__(self, note: str = "") -> None:
        self.note = note

    def __call__(self, done: int, total: int, note: str | None = None) -> None:
        """Show `done` of `total`, with a word on what is being done."""
        if Progress.line is not None:
            Progress.line.step(done, total, self.note if note is None else note)

    def callback(self) -> "TrainerCallback":
        """A callback that makes a Hugging Face trainer report its steps here."""
        from transformers import TrainerCallback

        progress = self

        class Steps(TrainerCallback):
            def on_step_end(self, args, state, control, **kwargs) -> None:
                progress(state.global_step, state.max_steps)

        return Steps()


def in_notebook() -> bool:
    """Whether this process is the kernel of a notebook."""
    shell = sys.modules.get("IPython") and sys.modules["IPython"].get_ipython()
    return bool(shell) and hasattr(shell, "kernel")


def quiet() -> None:
    """Silence progress bars, logs and warnings of libraries that are noise in a page.

    Libraries that are not loaded yet, and workers, read it from the environment.
    """
    os.environ["TRANSFORMERS_VERBOSITY"] = "error"
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["TQDM_DISABLE"] = "1"  # read by TRL where it scores without adapters
    loaded = sys.modules
    if "transformers" in loaded:
        loaded["transformers"].utils.logging.set_verbosity_error()
        loaded["transformers"].utils.logging.disable_progress_bar()
    if "datasets" in loaded:
        loaded["datasets"].disable_progress_bars()
        loaded["datasets"].logging.set_verbosity_error()
    if "huggingface_hub" in loaded:
        loaded["huggingface_hub"].utils.disable_progress_bars()
        loaded["huggingface_hub"].utils.logging.set_verbosity_error()
    for module in ("torch", "transformers", "trl", "datasets", "huggingface_hub"):
        warnings.filterwarnings("ignore", module=rf"{module}(\.|$)")
    for category in (FutureWarning, DeprecationWarning):
        warnings.filterwarnings("ignore", category=category)
