"""Seeds beside intervals: what is drawn, and where."""

import re

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from helpers.analysis.per_seed import seed_points
from helpers.figures import hover, panels, policies
from helpers.figures.style import spaced
from helpers.statistics import compare
from helpers.statistics.intervals import Interval


def rewards(name: str, values: np.ndarray, first: int = 0) -> pd.DataFrame:
    """Records of a policy from values (seeds, examples), of two subsets."""
    rows = [
        {
            "name": name,
            "subset": subset,
            "seed": first + seed,
            "example": f"e{example}",
            "value": value + (subset == "harmless"),
        }
        for subset in ("helpful", "harmless")
        for (seed, example), value in np.ndenumerate(values)
    ]
    return pd.DataFrame(rows).sample(frac=1, random_state=0)


RANDOM = np.random.default_rng(0)
RECORDS = pd.concat(
    [rewards("a", RANDOM.normal(size=(3, 8))), rewards("b", RANDOM.normal(size=(3, 8)))]
)
LAST = (RECORDS["subset"] == "harmless") & (RECORDS["example"] == "e7")
RECORDS = RECORDS[~LAST]  # one less: subsets of unlike sizes


def test_the_points_of_a_model_average_to_its_estimate() -> None:
    points = seed_points(RECORDS)
    means = points.groupby(["name", "subset"])["estimate"].agg(["mean", "size"])
    assert (means["size"] == 3).all()
    table = compare.mean_table(RECORDS, by=["name"]).set_index(["name", "subset"])
    np.testing.assert_allclose(means["mean"], table["estimate"].loc[means.index])


@pytest.mark.parametrize("subsets", [True, False])
def test_the_points_of_a_contrast_are_its_paired_differences(subsets: bool) -> None:
    contrasts = [("a", "b"), ("a", "absent")]
    points = seed_points(RECORDS, contrasts, subsets)
    assert set(points["name"]) == {"a − b"}
    table = compare.difference_table(RECORDS, contrasts, subsets)
    means = points.groupby("subset")["estimate"].mean()
    assert len(points) == 3 * len(table)
    np.testing.assert_allclose(means.loc[table["subset"]], table["estimate"])


def test_a_contrast_has_points_for_seeds_of_both_models() -> None:
    later = rewards("c", np.zeros((3, 8)), first=2)
    points = seed_points(pd.concat([RECORDS, later]), [("a", "c")])
    assert set(points["seed"]) == {2}
    assert seed_points(RECORDS, [("a", "absent")]).empty


def drawn(axis) -> list[tuple[float, float]]:
    """The dots of single seeds on an axis, in its data's units."""
    lines = [line for line in axis.lines if line.get_markersize() == 3]
    return sorted(tuple(pair) for line in lines for pair in line.get_xydata())


def test_each_seed_is_a_dot_beside_its_interval() -> None:
    table = compare.mean_table(RECORDS, by=["name"])
    assert table["name"].iloc[0] == "a"  # so it is the uppermost
    points = seed_points(RECORDS)
    figure = panels.forest(table, "reward", points=points)
    for axis, subset in zip(figure.axes, dict.fromkeys(table["subset"]), strict=True):
        assert axis.get_title() == subset
        own = points[points["subset"] == subset]
        places = own["name"].map(["b", "a"].index)
        assert drawn(axis) == sorted(zip(own["estimate"], places))
    assert not any(map(drawn, panels.forest(table, "reward").axes))


def test_dots_lie_below_the_interval_not_on_it() -> None:
    table = compare.mean_table(RECORDS, by=["name"], subsets=False)
    points = seed_points(RECORDS, subsets=False)
    axis = panels.forest(table, "reward", points=points).axes[0]
    (line,) = [each for each in axis.lines if each.get_markersize() == 3]
    shown = line.get_transform().transform(line.get_xydata())
    exact = axis.transData.transform(line.get_xydata())
    assert (shown[:, 1] < exact[:, 1] - 2).all()
    assert (shown[:, 1] > axis.bbox.y0).all()  # the lowest too
    np.testing.assert_allclose(shown[:, 0], exact[:, 0])


def test_policies_have_dots_against_their_cost_and_on_the_frontier() -> None:
    table = compare.mean_table(RECORDS, by=["name"], subsets=False)
    table = table.assign(kl=[1.0, 4.0], strength=0.1)
    points = seed_points(RECORDS, subsets=False)
    against = policies.reward_against(table, "kl", "KL", "reward", points).axes[0]
    assert drawn(against) == sorted(
        zip(points["name"].map(table.set_index("name")["kl"]), points["estimate"])
    )
    moved = points.assign(kl=[0.9, 1.0, 1.1, 3.8, 4.0, 4.2])
    curves = policies.frontier(table, "gain", moved).axes[0]
    assert drawn(curves) == sorted(zip(moved["kl"], moved["estimate"]))


def test_a_dollar_in_a_name_is_drawn_as_a_dollar(monkeypatch, tmp_path) -> None:
    """As mathematics, `$x` alone or an unknown command would fail, or vanish."""
    with plt.rc_context():
        panels.style()
        names = {"a": r"$\frac{$ a", "b": "$x$"}
        table = compare.mean_table(RECORDS.replace({"name": names}), by=["name"])
        figure = panels.forest(table, r"$\nosuch{$")
        assert panels.save(figure, tmp_path, "x").exists()
        texts = [label for axis in figure.axes for label in axis.get_yticklabels()]
        assert texts and not any(text.get_parse_math() for text in texts)


def curves(names: int, seeds: int, gap: float) -> pd.DataFrame:
    """Records of straight training curves that end `gap` apart from each other."""
    rows = [
        {"metric": "m", "name": f"n{n}", "seed": s, "step": t, "value": n * gap + t + s}
        for n in range(names)
        for s in range(seeds)
        for t in range(4)
    ]
    return pd.DataFrame(rows)


def test_a_curve_is_the_mean_of_its_seeds_and_each_seed_is_drawn_thin() -> None:
    figure = panels.training_curves(curves(2, 3, 10), "m", "score", "name")
    (axis,) = figure.axes
    thick = [line for line in axis.lines if line.get_linewidth() > 1]
    thin = [line for line in axis.lines if line.get_linewidth() < 1]
    assert len(thick) == 2 and len(thin) == 6
    np.testing.assert_allclose(thick[0].get_ydata(), np.arange(4) + 1)
    assert {line.get_color() for line in thin} == {each.get_color() for each in thick}


def test_curves_are_named_at_their_ends_unless_the_names_would_meet() -> None:
    apart = panels.training_curves(curves(2, 1, 10), "m", "score", "name")
    assert [text.get_text() for text in apart.axes[0].texts] == ["n0", "n1"]
    assert not apart.legends
    near = panels.training_curves(curves(2, 1, 0.01), "m", "score", "name")
    assert not near.axes[0].texts and near.legends


def test_many_curves_have_a_panel_each_before_the_others_in_grey() -> None:
    figure = panels.training_curves(curves(5, 1, 1), "m", "score", "name")
    assert [axis.get_title() for axis in figure.axes] == [f"n{n}" for n in range(5)]
    assert all(len(axis.lines) == 5 for axis in figure.axes)
    own = [axis.lines[-1].get_ydata()[0] for axis in figure.axes]
    assert own == [0, 1, 2, 3, 4]
    below = [axis.xaxis.get_tick_params()["labelbottom"] for axis in figure.axes]
    assert below == [False, False, True, True, True]


def test_a_point_of_the_frontier_says_its_numbers() -> None:
    interval = Interval(0.5, 0.25, 0.75)
    row = {"strength": 0.1, "estimate": 0.5, "low": 0.25, "high": 0.75}
    rows = pd.DataFrame(
        [
            {"name": "ppo (base)", "kl": 4.0, "interval": interval, **row},
            {"name": "sft_dpo", "kl": 9.0, "interval": interval, **row},
        ],
        index=[7, 3],
    )
    told = policies.frontier_told(rows)
    assert told[0] == (
        "PPO, strength 0.1: gain 0.500 (95% interval 0.250 to 0.750), "
        "KL 4.00 nats a reply"
    )
    figure = policies.frontier(rows, "gain")
    drawn = hover.as_svg(figure, [*told[:1], "<b>two</b>"], "what is & to be seen")
    assert drawn.startswith('<svg role="img" aria-label="what is &amp; to be seen"')
    titles = re.findall(r'<g id="spot-(\d)">\s*<title>(.*?)</title>', drawn)
    assert titles == [("0", told[0]), ("1", "&lt;b&gt;two&lt;/b&gt;")]
    spots = {line.get_gid(): line.get_xdata()[0] for line in figure.axes[0].lines}
    assert (spots["spot-0"], spots["spot-1"]) == (4.0, 9.0)


@pytest.mark.parametrize(
    ("heights", "moved"),
    [
        ([0.1, 0.5, 0.9], [0.1, 0.5, 0.9]),
        ([0.5, 0.5], [0.45, 0.55]),
        ([0.52, 0.9, 0.50], [0.56, 0.9, 0.46]),  # in their own order
        ([0.5, 0.55, 0.58, 0.1], [0.4433333, 0.5433333, 0.6433333, 0.1]),
        ([], []),
    ],
)
def test_labels_keep_apart_and_near_what_they_name(heights, moved) -> None:
    assert spaced(heights, 0.1) == pytest.approx(moved)


def test_levels_of_like_height_can_be_read() -> None:
    accuracy = pd.DataFrame(
        [(s, "base", n, 0.6, 0.5, 0.7) for s in ("a", "b") for n in (100, 200)],
        columns=["subset", "init", "pairs", "estimate", "low", "high"],
    )
    rows = [("a", "length", 0.601), ("a", "Bayes", 0.603), ("b", "length", 0.6)]
    lines = pd.DataFrame(rows, columns=["subset", "name", "value"])
    figure = panels.sample_efficiency(accuracy, lines)
    figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == 2 and not boxes[0].overlaps(boxes[1])
    (only,) = figure.axes[1].texts
    assert only.xy[1] == pytest.approx(0.6)
