"""The verdict over scores that are made by hand, so that each figure can be calculated."""

from dataclasses import fields

import numpy as np
import pytest

from training.scores import Scores
from training.verdict import Played, Verdict

TRACES, EPISODES = ("a", "b"), 2


def scores(spec, cores, attainment, reward, *, training_seeds=1):
    """All wanted work done with so many cores and nothing else, in every episode alike."""
    n = training_seeds * len(TRACES) * EPISODES
    wide = {"work": 3, "wanted": 3, "reserved": 4, "used": 4}
    parts = {f.name: np.zeros((n, wide[f.name]) if f.name in wide else n) for f in fields(Scores)}
    parts["work"] += 1.0
    parts["wanted"] += 1.0
    for name in ("reserved", "used"):
        parts[name][:, 0] = np.repeat(np.broadcast_to(cores, training_seeds), n // training_seeds)
    parts["slo_attainment"] += attainment
    parts["reward"] += reward
    return Scores(**parts)


@pytest.fixture
def result(spec):
    played = {
        "static": Played("static", scores(spec, 2.0, 0.1, 0.0), None, False),
        "best_static": Played("static", scores(spec, 1.6, 0.9, 1.0), 60.0, False),
        "careful": Played("rule", scores(spec, 1.25, 0.95, 1.2), 30.0, False),
        "bold": Played("rule", scores(spec, 1.0, 0.8, 1.3), 30.0, False),
        "prophet": Played("rule", scores(spec, 0.5, 1.0, 3.0), 30.0, True),
        "oracle": Played("oracle", scores(spec, 0.5, 0.99, 2.3), None, False),
        "ppo": Played("learned", scores(spec, [1.0, 0.64], 0.9, 1.8, training_seeds=2), 100.0, False),
    }
    return Verdict(spec, played, TRACES, EPISODES).result("ppo")


def test_efficiency_is_the_ratio_of_what_is_reserved_for_the_same_work(result):
    relative = {row["policy"]: row["efficiency"] for row in result["policies"]}
    assert relative["static"] == 1.0
    assert relative["best_static"] == pytest.approx(1.25)
    assert relative["ppo"] == pytest.approx((2.0 + 3.125) / 2)  # of its two training seeds


def test_the_gain_is_the_geometric_mean_over_training_seeds(result):
    line = result["summary"]["vs_best_static"]
    assert line["efficiency_gain"] == pytest.approx(np.sqrt(1.6 * 2.5) - 1)
    assert line["efficiency_gain_ci"] == pytest.approx([0.6, 1.5])  # it may be either seed alone
    assert line["reserved_saving"] == pytest.approx(1 - 0.82 / 1.6)
    assert line["counts"] is True


def test_the_best_heuristic_is_chosen_by_reward_and_the_best_at_the_slos_by_efficiency(result):
    assert result["summary"]["vs_best_heuristic"]["name"] == "bold"
    assert result["summary"]["vs_best_by_efficiency_at_slo"]["name"] == "careful"
    assert result["best_by_efficiency_at_slo"]["name"] == "ppo"
    assert result["best_by_efficiency_at_slo"]["slo_attainment_at_least"] == pytest.approx(0.9)


def test_a_gain_at_worse_attainment_does_not_count(result):
    assert result["summary"]["vs_careful"]["efficiency_gain"] > 0
    assert result["summary"]["vs_careful"]["counts"] is False
    assert result["summary"]["vs_bold"]["counts"] is True


def test_whoever_knows_the_future_is_in_no_comparison(result):
    assert result["rank"] == ["ppo", "bold", "careful", "best_static", "static"]
    assert "vs_prophet" not in result["summary"]
    assert [row["policy"] for row in result["rows"] if row["leaks_future"]] == ["prophet", "prophet"]


def test_headroom_is_the_oracles_lead_and_our_share_of_it(result):
    headroom = result["headroom"]
    assert headroom["over"] == "bold"
    assert headroom["efficiency"]["lead"] == pytest.approx(1.0)  # twice as efficient
    assert headroom["efficiency"]["share"] == pytest.approx(np.log(np.sqrt(1 / 0.64)) / np.log(2))
    assert headroom["reward"]["lead"] == pytest.approx(1.0)
    assert headroom["reward"]["share"] == pytest.approx(0.5)
    assert headroom["reward"]["share_ci"] == pytest.approx([0.5, 0.5])


def test_the_optimality_gap_is_what_is_missing_to_the_oracle(result):
    gap = result["aggregate"]["policies"]
    assert gap["oracle"]["optimality_gap"] == pytest.approx(0.0)
    assert gap["bold"]["optimality_gap"] == pytest.approx(0.5)


def test_intervals_of_two_efficiencies_overlap_or_not(result):
    assert result["summary"]["vs_best_static"]["intervals_overlap"] is False
    assert result["summary"]["vs_bold"]["intervals_overlap"] is True  # one of the seeds is as good as it


def test_weights_change_nothing_where_all_work_is_done_and_one_resource_is_paid(result):
    plain = result["summary"]["vs_static"]["efficiency_gain"]
    assert {name: gains["vs_static"] for name, gains in result["weights"].items()} == pytest.approx(
        dict.fromkeys(result["weights"], plain)
    )
