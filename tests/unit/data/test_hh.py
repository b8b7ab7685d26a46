"""Quirky dialogues, bad files, splits: what the parser keeps, drops and refuses."""

import gzip
import json
import random
import tracemalloc
from pathlib import Path

import pandas as pd
import pytest

from helpers.core import hub
from helpers.core.paths import ROOT
from helpers.data import dialogues, hh

REAL = ROOT / "../shared/hh-rlhf"
SETTINGS = {"n_builtin": 40, "max_pairs": 0, "judge_fraction": 0.0, "seed": 0}


def talk(*turns: str) -> str:
    """A dialogue of turns that alternate, the human first."""
    markers = (dialogues.HUMAN, dialogues.ASSISTANT)
    return "".join(f"{markers[i % 2]} {turn}" for i, turn in enumerate(turns))


def pair(question: str, good: str = "Use flour.", bad: str = "No idea.") -> dict:
    return {"chosen": talk(question, good), "rejected": talk(question, bad)}


def write(root: Path, packed: bool = True, **rows: list[dict]) -> Path:
    """A folder in the hub's layout; rows by "subset_split", one good pair otherwise."""
    for subset, folder in hh.FOLDERS.items():
        for split in ("train", "test"):
            name = f"{subset}_{split}"
            lines = rows.get(name, [pair(f"How do I bake {name}?")])
            text = "".join(json.dumps(line) + "\n" for line in lines).encode()
            path = root / folder / f"{split}.jsonl{'.gz' * packed}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(gzip.compress(text, mtime=0) if packed else text)
    return root


def load(root: Path, **changed) -> tuple[pd.DataFrame, pd.DataFrame]:
    return hh.load_pairs(str(root), **SETTINGS | changed)


def count(drops: pd.DataFrame, reason: str) -> int:
    return int(drops.loc[drops["reason"] == reason, "count"].sum())


# --- One pair -------------------------------------------------------------------


def test_cut_keeps_the_leading_space_and_strips_the_end():
    dialogue = talk("Hello", "Hi.", "Bread?", "Use flour. \n\n")
    assert dialogues.cut(dialogue) == (
        talk("Hello", "Hi.", "Bread?") + dialogues.ASSISTANT,
        " Use flour.",
    )


def test_turns_and_opening_of_a_longer_dialogue():
    prompt, _, _ = dialogues.compare(
        talk("Hello\n  there", "Hi.", "Bread?", "Use flour."),
        talk("Hello\n  there", "Hi.", "Bread?", "Wait."),
    )
    assert (dialogues.turns(prompt), dialogues.opening(prompt)) == (2, "Hello there")


@pytest.mark.parametrize(
    ("chosen", "rejected", "reason"),
    [
        ("Human: Hi\n\nAssistant: Hello", talk("Hi", "Yes."), dialogues.MALFORMED),
        (talk("Hi"), talk("Hi"), dialogues.MALFORMED),
        (
            dialogues.ASSISTANT + " Hello",
            dialogues.ASSISTANT + " Bye",
            dialogues.MALFORMED,
        ),
        ("", "", dialogues.MALFORMED),
        (talk("Bread?", "Flour."), talk("Cake?", "Sugar."), dialogues.CONTEXTS),
        (talk("Hi", "A", "B", "C"), talk("Hi", "D", "B", "E"), dialogues.CONTEXTS),
        # One reply goes on with a turn of its own, so its last marker is elsewhere.
        (talk("Hi", "A", "B", "C"), talk("Hi", "Other."), dialogues.CONTEXTS),
        (
            talk("Hi", "A") + dialogues.ASSISTANT + " B",
            talk("Hi", "C"),
            dialogues.CONTEXTS,
        ),
        (talk("Hi", ""), talk("Hi", "Yes."), dialogues.EMPTY),
        (talk("Hi", "Yes."), talk("Hi", " \n\n "), dialogues.EMPTY),
        (talk("Hi", "Yes.", "And then?"), talk("Hi", "No."), dialogues.MARKER),
        (talk("Hi", "Human: I said hi."), talk("Hi", "No."), dialogues.MARKER),
        (talk("Hi", "Yes.\nAssistant: Or no."), talk("Hi", "No."), dialogues.MARKER),
        (talk("Hi", "Sure. Human: and you?"), talk("Hi", "No."), dialogues.MARKER),
        (talk("Hi", "Ok?  Assistant : Ok!"), talk("Hi", "No."), dialogues.MARKER),
        (talk("Hi", "“Yes!”) Human:"), talk("Hi", "No."), dialogues.MARKER),
        (talk("Hi", 'He said "no." Human: oh'), talk("Hi", "No."), dialogues.MARKER),
        (talk("Hi", "Yes,  well."), talk("Hi", "Yes,\nwell."), dialogues.IDENTICAL),
        (talk("Hi", "Yes, well"), talk("Hi", "yes well!"), dialogues.ALIKE),
    ],
)
def test_pairs_that_cannot_be_compared(chosen, rejected, reason):
    assert dialogues.compare(chosen, rejected) == reason
    assert dialogues.compare(rejected, chosen) == reason


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("The word Human: has a colon.", "It has none."),
        ("Say this. “Human: and you?”", "Or. (Assistant: no)"),
        ("It is called version 2.Human: one", "The Human. A colon: none."),
        ("¡Sí!\u2028日本 🙂", "No\x85\x0b."),
        ("?!", "..."),
        ("Yes", "Yes, and no"),
    ],
)
def test_odd_but_comparable_replies_stay_as_they_are(good, bad):
    assert dialogues.compare(talk("Hi", good), talk("Hi", bad))[1:] == (
        f" {good}",
        f" {bad}",
    )


def test_a_marker_within_a_line_of_the_prompt_stays():
    question = "Yes. Human: and then?"
    prompt, *_ = dialogues.compare(talk(question, "A"), talk(question, "B"))
    assert prompt == talk(question) + dialogues.ASSISTANT


def test_carriage_returns_are_line_ends():
    windows = talk("Hi", "A\nB").replace("\n", "\r\n")
    assert dialogues.compare(windows, talk("Hi", "C")) == (
        talk("Hi") + dialogues.ASSISTANT,
        " A\nB",
        " C",
    )


# --- Files ----------------------------------------------------------------------


@pytest.mark.parametrize("packed", [True, False])
def test_a_folder_packed_or_not(tmp_path, packed):
    pairs, drops = load(write(tmp_path, packed))
    assert list(pairs.columns) == list(hh.PAIR_COLUMNS)
    assert sorted(zip(pairs["subset"], pairs["split"], strict=True)) == [
        *(("harmless", "test"), ("harmless", "train")),
        *(("helpful", "test"), ("helpful", "train")),
    ]
    assert pairs["prompt"].str.endswith(dialogues.ASSISTANT).all()
    assert drops["count"].sum() == 0


def test_a_line_separator_inside_a_text_is_not_a_line_end(tmp_path):
    row = json.dumps(pair("Hi", "one\u2028two\x85"), ensure_ascii=False)
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{row}\n\n{row}\n", encoding="utf-8", newline="")
    assert [chosen for chosen, _ in hh.read_rows(path)] == [
        talk("Hi", "one\u2028two\x85")
    ] * 2


GOOD = json.dumps(pair("Hi")).encode() + b"\n"


@pytest.mark.parametrize(
    ("content", "line", "says"),
    [
        (GOOD + b"{chosen: 1}\n", 2, "not JSON"),
        (GOOD + GOOD + b'{"chosen": "a"}\n', 3, "'rejected' is missing"),
        (b'["a", "b"]\n', 1, "found a list"),
        (b'{"chosen": "a", "rejected": null}\n', 1, "'rejected' is a NoneType"),
        (GOOD + b'{"chosen": "\xff"}\n', 2, "not UTF-8"),
        (b'{"chosen": "\\ud83d", "rejected": "a"}\n', 1, "holds half a"),
        (b"", 1, "is empty"),
        (GOOD + b"[" * 100_000 + b"\n", 2, "nested too deeply"),
        (b'{"a": ' * 100_000, 1, "nested too deeply"),
        (GOOD + b'{"chosen": ' + b"9" * 5000 + b"}", 2, "a number of 5000 digits"),
        (b'{"chosen": "a", "chosen": "b", "rejected": ""}', 1, "'chosen' comes twice"),
        (b'{"chosen": "a\\u0000", "rejected": "b"}', 1, "holds a NUL"),
        (b'{"chosen": "a\x00", "rejected": "b"}', 1, "not JSON"),
        (GOOD + b" " * 1_000_001, 2, "too long; expected at most 1,000,000 bytes"),
    ],
)
def test_bad_lines_name_file_line_and_expectation(tmp_path, content, line, says):
    write(tmp_path, packed=False)
    path = tmp_path / "harmless-base" / "train.jsonl"
    path.write_bytes(content)
    with pytest.raises(hh.DataError, match="expected") as caught:
        load(tmp_path)
    assert f"{path}, line {line}: " in str(caught.value)
    assert says in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_a_line_of_fifty_megabytes_is_not_read_into_memory(tmp_path):
    path = tmp_path / "train.jsonl.gz"
    path.write_bytes(gzip.compress(GOOD + b"a" * 50_000_000, compresslevel=1))
    tracemalloc.start()
    try:
        with pytest.raises(hh.DataError, match="line 2: too long"):
            list(hh.read_rows(path))
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


def test_a_file_that_cannot_be_opened_is_named(tmp_path):
    with pytest.raises(hh.DataError, match="Is a directory; expected a file"):
        list(hh.read_rows(tmp_path))


@pytest.mark.parametrize("damage", [lambda b: b[:-9], lambda b: b"plain text\n"])
def test_a_damaged_gzip_file(tmp_path, damage):
    write(tmp_path, helpful_test=[pair(f"Bread {n}?") for n in range(50)])
    path = tmp_path / "helpful-base" / "test.jsonl.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(hh.DataError, match="expected a whole gzip file") as caught:
        load(tmp_path)
    assert str(path) in str(caught.value)


def test_wrong_layout_and_missing_folder(tmp_path):
    with pytest.raises(hh.DataError, match=r"helpful-base.*expected helpful-base/ and"):
        load(tmp_path)
    with pytest.raises(hh.DataError, match="no such folder; expected 'built-in'"):
        load(tmp_path / "nowhere")


def test_a_file_without_a_usable_pair(tmp_path):
    write(tmp_path, helpful_train=[pair("Hi", "Same.", "Same.")])
    with pytest.raises(hh.DataError, match="no usable pair in helpful-base/train"):
        load(tmp_path)


def test_a_relative_folder_starts_at_the_project_root(tmp_path, monkeypatch):
    write(tmp_path / "data")
    monkeypatch.setattr(hh, "ROOT", tmp_path)
    assert len(load(Path("data"))[0]) == 4


# --- The hub --------------------------------------------------------------------


def test_a_hub_name_is_read_at_its_pinned_commit(monkeypatch):
    calls = []

    def load_dataset(name, *, data_dir, split, revision):
        calls.append((name, data_dir, split, revision))
        return [pair(f"{data_dir} {split}?")]

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    pairs, _ = load(Path("Anthropic/hh-rlhf"))
    assert len(pairs) == len(calls) == 4
    assert {call[3] for call in calls} == {hub.PINNED["Anthropic/hh-rlhf"]}
    assert {call[1:3] for call in calls} == {
        (folder, split) for folder in hh.FOLDERS.values() for split in ("train", "test")
    }


def test_a_hub_name_that_cannot_be_loaded(monkeypatch):
    def load_dataset(*_, **__):
        raise ConnectionError("the hub\ncannot be reached")

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    with pytest.raises(hh.DataError, match="some/name: neither .* cannot be reached"):
        load(Path("some/name@abc"))


@pytest.mark.parametrize("source", ["../missing", "./missing", "a/b/c", "-a/b"])
def test_a_path_that_is_not_there_is_no_hub_name(source, monkeypatch):
    monkeypatch.setattr("datasets.load_dataset", None)  # would be called
    with pytest.raises(hh.DataError, match="no such folder; expected 'built-in'"):
        hh.load_pairs(source, **SETTINGS)


# --- Drops and splits -----------------------------------------------------------


def test_drops_are_counted_by_subset_split_and_reason(tmp_path):
    rows = [
        *(pair("Bread?"), pair("Bread?"), pair("Bread?", "No idea.", "Use flour.")),
        *(pair("Empty?", ""), pair("Same?", "Yes.", "Yes."), pair("Case?", "A", "a.")),
        *(pair("Tested?"), pair("Tested?", "Other reply.")),
    ]
    write(tmp_path, helpful_train=rows, harmless_test=[pair("Tested?")])
    pairs, drops = load(tmp_path)
    found = drops[drops["count"] > 0]
    assert set(found["subset"]) == {"helpful"} and set(found["split"]) == {"train"}
    assert dict(zip(found["reason"], found["count"], strict=True)) == {
        dialogues.EMPTY: 1,
        dialogues.IDENTICAL: 1,
        dialogues.ALIKE: 1,
        hh.DUPLICATE: 1,
        hh.SHARED: 2,
    }
    train = pairs["subset"].eq("helpful") & pairs["split"].eq("train")
    assert train.sum() + found["count"].sum() == len(rows)


def many(n: int, prefix: str) -> list[dict]:
    """Pairs of which every other one opens like the one before."""
    return [pair(f"{prefix} {i // 2}?", f"Use flour {i}.") for i in range(n)]


def test_nothing_depends_on_the_order_of_the_lines(tmp_path):
    rows = many(60, "Bread")
    shuffled = random.Random(0).sample(rows, len(rows))
    options = {"judge_fraction": 0.3, "dev_fraction": 0.3, "max_pairs": 20}
    first = load(write(tmp_path / "a", helpful_train=rows), **options)
    second = load(write(tmp_path / "b", helpful_train=shuffled), **options)
    pd.testing.assert_frame_equal(first[0], second[0])
    pd.testing.assert_frame_equal(first[1], second[1])
    assert set(first[0]["split"]) == {"train", "judge", "dev", "test"}


def test_no_conversation_crosses_splits(tmp_path):
    rows = many(400, "Bread") + many(20, "Tested")
    write(tmp_path, helpful_train=rows, helpful_test=many(20, "Tested"))
    pairs, drops = load(tmp_path, judge_fraction=0.25)
    assert count(drops, hh.SHARED) == 20
    splits = pairs.groupby(pairs["prompt"].map(dialogues.opening))["split"].nunique()
    assert (splits == 1).all()
    share = pairs["split"].eq("judge").sum() / 400
    assert 0.15 < share < 0.35


def test_four_splits_share_no_opening_and_dev_takes_from_train_alone(tmp_path):
    rows = many(400, "Bread")
    root = write(tmp_path, helpful_train=rows, helpful_test=many(20, "Tested"))
    before, _ = load(root, judge_fraction=0.2)
    pairs, _ = load(root, judge_fraction=0.2, dev_fraction=0.2)
    assert set(pairs["split"]) == {"train", "judge", "dev", "test"}
    splits = pairs.groupby(pairs["prompt"].map(dialogues.opening))["split"].nunique()
    assert (splits == 1).all()
    assert 0.1 < pairs["split"].eq("dev").sum() / 400 < 0.3
    moved = pairs["split"].ne(before["split"])
    assert (pairs["id"] == before["id"]).all()
    assert set(before.loc[moved, "split"]) == {"train"}
    assert set(pairs.loc[moved, "split"]) == {"dev"}


def test_the_judge_share_does_not_depend_on_the_seed(tmp_path):
    write(tmp_path, helpful_train=many(100, "Bread"))
    first, _ = load(tmp_path, judge_fraction=0.3, seed=1)
    second, _ = load(tmp_path, judge_fraction=0.3, seed=2)
    pd.testing.assert_frame_equal(first, second)


def test_max_pairs_draws_evenly_and_leaves_test_whole(tmp_path):
    rows = {"helpful_train": many(30, "Bread"), "harmless_train": many(300, "Cake")}
    write(tmp_path, **rows, harmless_test=many(50, "Tea"))
    drawn, drops = load(tmp_path, max_pairs=40)
    sizes = drawn.groupby(["subset", "split"]).size().to_dict()
    assert sizes["helpful", "train"] == sizes["harmless", "train"] == 20
    assert sizes["harmless", "test"] == 50
    assert count(drops, hh.NOT_DRAWN) == 290
    wider, _ = load(tmp_path, max_pairs=100)
    assert (wider["split"] == "train").sum() == 100
    assert set(drawn["id"]) < set(wider["id"])
    other, _ = load(tmp_path, max_pairs=40, seed=1)
    assert set(other["id"]) != set(drawn["id"])


def test_max_test_pairs_draws_after_what_is_shared_is_left_out(tmp_path):
    """What trains does not depend on how many test pairs are drawn."""
    test = {"helpful_test": many(40, "Tea"), "harmless_test": many(60, "Rice")}
    train = many(30, "Bread") + test["harmless_test"][:10]
    write(tmp_path, helpful_train=train, **test)
    whole, all_drops = load(tmp_path)
    drawn, drops = load(tmp_path, max_test_pairs=20)
    sizes = drawn[drawn["split"] == "test"].groupby("subset").size().to_dict()
    assert sizes == {"helpful": 10, "harmless": 10}
    assert count(drops, hh.NOT_DRAWN) == 80 and count(all_drops, hh.NOT_DRAWN) == 0
    assert count(drops, hh.SHARED) == count(all_drops, hh.SHARED) == 10
    learned = [each[each["split"] != "test"]["id"].tolist() for each in (whole, drawn)]
    assert learned[0] == learned[1] and len(learned[0]) > 30


def test_built_in_sizes_and_seed():
    settings = SETTINGS | {"n_builtin": 41}
    pairs, drops = hh.load_pairs("built-in", **settings)
    again, _ = hh.load_pairs("built-in", **settings)
    other, _ = hh.load_pairs("built-in", **settings | {"seed": 1})
    assert (pairs["split"] == "train").sum() == 41
    assert (pairs["split"] == "test").sum() == 10
    assert drops["count"].sum() == 0
    pd.testing.assert_frame_equal(pairs, again)
    assert set(pairs["id"]).isdisjoint(other["id"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"judge_fraction": 1.0},
        {"dev_fraction": -0.1},
        {"judge_fraction": 0.5, "dev_fraction": 0.5},
        {"max_pairs": -1},
        {"max_test_pairs": -1},
        {"n_builtin": 1},
    ],
)
def test_numbers_out_of_range(wrong):
    with pytest.raises(ValueError, match="expected"):
        hh.load_pairs("built-in", **SETTINGS | wrong)


# --- The real pairs -------------------------------------------------------------


@pytest.mark.skipif(not REAL.is_dir(), reason="no ../shared/hh-rlhf on this machine")
def test_the_real_test_files():
    counts = {}
    for subset, folder in hh.FOLDERS.items():
        rows = list(hh.read_rows(REAL / folder / "test.jsonl.gz"))
        found = [dialogues.compare(*row) for row in rows]
        reasons = [reason for reason in found if isinstance(reason, str)]
        counts[subset] = (
            len(rows),
            reasons.count(dialogues.CONTEXTS),
            reasons.count(dialogues.EMPTY),
        )
    assert counts == {"helpful": (494, 2, 1), "harmless": (2312, 5, 4)}


@pytest.mark.skipif(not REAL.is_dir(), reason="no ../shared/hh-rlhf on this machine")
@pytest.mark.parametrize(
    ("file", "total", "within"),
    [
        ("helpful-base/train", 18, (711, 1095)),
        ("helpful-base/test", 5, ()),
        ("harmless-base/train", 24, (862, 1806, 2312, 2577, 4324, 8567, 32718)),
        ("harmless-base/test", 30, (796, 1172)),
    ],
)
def test_real_replies_that_go_on_with_a_turn(file, total, within):
    """Rows from 0; 28 of all have the marker within a line, some of them listed."""
    rows = list(hh.read_rows(REAL / f"{file}.jsonl.gz"))
    found = [dialogues.compare(*row) for row in rows]
    assert found.count(dialogues.MARKER) == total
    assert {found[row] for row in within} <= {dialogues.MARKER}
    if file == "harmless-base/train":  # quoted: the replies speak of a marker
        assert not {found[5261], found[5424]} & set(dialogues.FAULTS)
