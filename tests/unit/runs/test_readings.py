"""A job is done again when what it has read is another now, and for nothing else."""

import json
from pathlib import Path

import pytest

from helpers.core.manifests import manifest_file, note_all, read_by_job, reading_for
from helpers.core.paths import RunError
from helpers.runs import jobs, readings, store
from helpers.runs.readings import Unchanged
from tests.manifests import write_manifest


def write(out: Path, text: str, **_: object) -> list[dict]:
    (out / "weights.txt").write_text(text)
    return []


def learn(out: Path, run: Path, init: str, seed: int) -> list[dict]:
    """As a reward model: from the weights of one start and seed, and the pairs."""
    start = store.job_folder(run, "03_codepmp", init=init, seed=seed)
    length = store.parameter(run, "01_base_model", "max_length")
    (out / "model.txt").write_text((start / "weights.txt").read_text() * length)
    return []


def pretrain(run: Path, texts: dict[tuple[str, int], str], **given: object) -> None:
    """03 as it is after a run with these jobs, whose weights are the texts."""
    folder = run / "03_codepmp" / "jobs"
    for (init, seed), text in texts.items():
        job = {"init": init, "seed": seed, "text": text}
        jobs.run_job(write, job, {}, folder / f"{init},{seed}", "03_codepmp", "k")
        about = json.loads((folder / f"{init},{seed}" / "job.json").read_text())
        about["job"].pop("text")
        (folder / f"{init},{seed}" / "job.json").write_text(json.dumps(about))
    write_manifest(run, "03_codepmp", parameters=given)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "x"
    write_manifest(folder, "01_base_model", parameters={"max_length": 2, "heads": 4})
    pretrain(folder, {("codepmp", 0): "a", ("codepmp", 1): "b"})
    return folder


def trained_again(run: Path, seeds: int = 2) -> list[int]:
    """The seeds whose reward models are trained when 04 runs, in their order."""
    done = []

    def counted(out: Path, run: Path, init: str, seed: int) -> list[dict]:
        done.append(seed)
        return learn(out, run, init, seed)

    grid = [{"init": "codepmp", "seed": seed} for seed in range(seeds)]
    asked = {"stage": "04_reward_model", "key": "k", "unchanged": Unchanged(run)}
    folder = run / "04_reward_model" / "jobs"
    jobs.run_grid(counted, grid, folder, workers=1, shared={"run": run}, **asked)
    return done


def test_what_nobody_has_read_trains_nothing_again(run: Path) -> None:
    assert trained_again(run) == [0, 1] and trained_again(run) == []
    more = {("codepmp", 2): "c", ("shuffled", 0): "d"}
    pretrain(run, more, controls=["shuffled"], seeds=3)
    write_manifest(run, "01_base_model", parameters={"max_length": 2, "heads": 8})
    assert trained_again(run, seeds=3) == [2]


def test_what_a_job_has_read_trains_it_again(run: Path) -> None:
    trained_again(run)
    pretrain(run, {("codepmp", 1): "another"})
    assert trained_again(run) == [1]
    write_manifest(run, "01_base_model", parameters={"max_length": 3})
    assert trained_again(run) == [0, 1]
    (run / "04_reward_model" / "jobs" / "init=codepmp,seed=0" / "model.txt").unlink()
    assert trained_again(run) == [0]


@pytest.mark.parametrize("text", ["[]", '{"job": {}, "key": "k", "files": {}}', ""])
def test_a_job_that_does_not_say_what_it_has_read_is_done_again(
    run: Path, text: str
) -> None:
    trained_again(run)
    place = run / "04_reward_model" / "jobs" / "init=codepmp,seed=1" / "job.json"
    place.write_text(text)
    assert trained_again(run) == [1]


@pytest.mark.parametrize(
    "question",
    [
        "",
        "[]",
        "[1, 2]",
        '["nothing", "03_codepmp", {}]',
        '["file", "03_codepmp", {"name": "none"}]',
        '["parameter", "05_sft", {"name": "seeds"}]',
        '["most", "05_sft", {"of": "pairs"}]',
        '["most", "03_codepmp", {"of": "pairs", "init": "codepmp"}]',
        '["what_jobs_gave", "03_codepmp", 7]',
    ],
)
def test_a_question_without_an_answer_is_a_change(run: Path, question: str) -> None:
    assert not Unchanged(run)({question: "0" * 64})


def test_only_a_job_notes_what_it_reads(run: Path) -> None:
    store.job_folder(run, "03_codepmp", init="codepmp", seed=0)
    assert read_by_job() is None
    with reading_for("04_reward_model") as read:
        store.job_folder(run, "03_codepmp", init="codepmp", seed=0)
        note_all({"of another process": "x"})
        with pytest.raises(RunError, match="is not among its inputs"):
            store.job_folder(run, "07_ppo", method="ppo")
    (question, other) = read
    assert json.loads(question) == [
        "what_jobs_gave",
        "03_codepmp",
        {"init": "codepmp", "seed": 0},
    ]
    assert other == "of another process"
    assert Unchanged(run)({question: read[question]})


def test_the_most_and_a_file_are_asked_of_the_run(run: Path) -> None:
    with reading_for("04_reward_model") as read:
        readings.note(run, "most", "03_codepmp", of="seed", init="codepmp")
    unchanged = Unchanged(run)
    assert unchanged(read)
    pretrain(run, {("codepmp", 5): "e"})
    assert unchanged(read) and not Unchanged(run)(read)  # each thing is asked once
    about = json.loads(manifest_file(run, "03_codepmp").read_text())
    about["files"] = {"pairs.parquet": [1, "ab", 2]}
    manifest_file(run, "03_codepmp").write_text(json.dumps(about))
    assert readings.file(run, "03_codepmp", "pairs.parquet") == "ab"
