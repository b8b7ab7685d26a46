"""Sittings of a job: its clocks go on, and only what is vouched for stays."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from helpers.core import flops, sittings
from helpers.core.inputs import InputError
from helpers.core.paths import SITTING


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Time that passes only when told: of the wall, and of the processor."""
    now = SimpleNamespace(wall=100.0, cpu=10.0)
    time = SimpleNamespace(monotonic=lambda: now.wall, process_time=lambda: now.cpu)
    monkeypatch.setattr(sittings, "time", time)
    monkeypatch.setattr(flops, "time", time)
    return now


def work(clock: SimpleNamespace, seconds: float) -> None:
    """Work with two cores, of which ten FLOPs and a step are booked for a second."""
    clock.wall += seconds
    clock.cpu += 2 * seconds
    flops.book(flops=10 * seconds, steps=int(seconds))


def write(clock: SimpleNamespace):
    """A checkpoint that takes long to write."""

    def save(folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "state").write_text("weights")
        work(clock, 50)

    return save


def test_costs_are_those_of_an_undisturbed_job(tmp_path: Path, clock) -> None:
    with flops.metered(), sittings.sitting(tmp_path, "k", {"asked": "x"}) as job:
        work(clock, 3)  # before the training, twice in all
        training = sittings.next_training()
        assert training.go_on() is None
        work(clock, 4)
        training.leave(write(clock), 4, {"finished": False})
        work(clock, 2)  # lost
        assert job.seconds() == pytest.approx(3 + 4 + 2)
        assert flops.so_far()[0].cpu_seconds == pytest.approx(18)
    clock.wall, clock.cpu = 7000.0, 0.5  # another day, another process
    with (
        flops.metered() as spent,
        sittings.sitting(tmp_path, "k", {"asked": "x"}) as job,
    ):
        work(clock, 3)
        training = sittings.next_training()
        assert training.go_on() == tmp_path / "training-1" / "4"
        assert training.left["finished"] is False
        work(clock, 6)
        assert job.seconds() == pytest.approx(3 + 4 + 6)
    assert spent.flops == pytest.approx(130) and spent.steps == 13
    assert spent.cpu_seconds == pytest.approx(26)


def test_only_what_is_vouched_for_stays(tmp_path: Path, clock) -> None:
    with sittings.sitting(tmp_path, "k", {}):
        sittings.next_training().leave(write(clock), 2, {})
        sittings.next_training()  # a short one, that leaves nothing
        third = sittings.next_training()
        third.leave(write(clock), 5, {})
        third.leave(write(clock), 9, {})
        (tmp_path / "training-2").mkdir()
        (tmp_path / "model.safetensors").touch()
    with sittings.sitting(tmp_path, "k", {}) as job:
        folders = {
            each.relative_to(tmp_path).as_posix() for each in tmp_path.rglob("*")
        }
        assert folders == {
            SITTING,
            *("training-1", "training-1/2", "training-1/2/state"),
            *("training-3", "training-3/9", "training-3/9/state"),
        }
        found = [sittings.next_training().go_on() for _ in range(3)]
        assert found == [
            tmp_path / "training-1" / "2",
            None,
            tmp_path / "training-3" / "9",
        ]
        job.clear()
    assert not list(tmp_path.iterdir())
    assert sittings.next_training() is None  # of no job


def test_what_a_job_goes_on_from_is_its_own(tmp_path: Path, clock) -> None:
    with sittings.sitting(tmp_path, "k", {"asked": "x"}):
        sittings.next_training().leave(write(clock), 2, {})

    def goes_on(key: str = "k", answer: str = "x") -> bool:
        return sittings.can_go_on(tmp_path, key, lambda read: read["asked"] == answer)

    assert goes_on()
    assert not goes_on(key="of other settings")
    assert not goes_on(answer="what it read is another now")
    state = tmp_path / "training-1" / "2" / "state"
    state.write_text("damaged")
    assert not goes_on()
    state.write_text("weights")
    assert goes_on()
    about = json.loads((tmp_path / SITTING).read_text())
    for wrong in ({}, {**about, "trainings": {"training-1": []}}, {**about, "key": 1}):
        (tmp_path / SITTING).write_text(json.dumps(wrong))
        assert not goes_on()
    (tmp_path / SITTING).unlink()
    assert not goes_on()


def test_how_often_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sittings.seconds_between("0") == 0 and sittings.seconds_between("2.5") == 2.5
    for wrong in ("", "-1", "often", "nan", "1" * 400):
        with pytest.raises(
            InputError, match="PREFBOOK_CHECKPOINT_SECONDS is .*such as"
        ):
            sittings.seconds_between(wrong)
