"""LightGBM's text models in numpy."""

import numpy as np
import pytest

from telemetry.boosted_trees import Trees, TreesError, from_arrays, parse

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(2000, 5))
FEATURES[RNG.random(FEATURES.shape) < 0.1] = np.nan
FEATURES[:, 4] = np.nan_to_num(FEATURES[:, 4])  # never missing in training


@pytest.fixture(scope="module")
def text() -> str:
    lightgbm = pytest.importorskip("lightgbm")
    truth = (np.nan_to_num(FEATURES[:, 0]) + FEATURES[:, 4] > 0.5).astype(float)
    parameters = {"objective": "binary", "num_leaves": 15, "max_depth": 6, "num_threads": 1, "verbosity": -1}
    return str(lightgbm.train(parameters, lightgbm.Dataset(FEATURES, truth), num_boost_round=20).model_to_string())


def test_probabilities_equal_those_of_lightgbm_also_where_values_are_missing(text: str) -> None:
    import lightgbm

    asked = FEATURES.copy()
    asked[::7, 4] = np.nan  # missing now, though never in training
    expected = lightgbm.Booster(model_str=text).predict(asked)
    np.testing.assert_allclose(parse(text).predict(asked), expected, rtol=1e-12)


def test_the_order_and_number_of_rows_change_nothing(text: str) -> None:
    trees = parse(text)
    whole = trees.predict(FEATURES)
    np.testing.assert_allclose(trees.predict(FEATURES[::-1]), whole[::-1], rtol=1e-14)
    assert trees.predict(FEATURES[:0]).shape == (0,)


def test_another_number_of_features_is_refused(text: str) -> None:
    with pytest.raises(TreesError, match=r"needs \(rows, 5\)"):
        parse(text).predict(FEATURES[:, :3])


@pytest.mark.parametrize("damaged", ["", "tree\nversion=v4\n", "objective=regression\nmax_feature_idx=4\n\nTree=0\n"])
def test_a_text_that_is_no_model_is_refused(damaged: str) -> None:
    with pytest.raises(TreesError, match="no text model"):
        parse(damaged)


def test_a_cut_off_model_is_refused(text: str) -> None:
    with pytest.raises(TreesError):
        parse(text[: text.index("left_child=")])


def test_a_tree_that_leads_back_to_itself_is_refused(text: str) -> None:
    line = next(line for line in text.splitlines() if line.startswith("left_child="))
    back = " ".join(["1"] + ["0"] * (line.count(" ")))  # 0 leads to 1, and 1 back to 0
    with pytest.raises(TreesError, match="damaged"):
        parse(text.replace(line, f"left_child={back}", 1))


def test_a_single_leaf_is_a_constant() -> None:
    model = "objective=binary sigmoid:1\nmax_feature_idx=1\n\nTree=0\nnum_leaves=1\nleaf_value=0\n\nend of trees\n"
    trees = parse(model)
    assert isinstance(trees, Trees)
    assert trees.predict(np.zeros((3, 2))).tolist() == [0.5, 0.5, 0.5]


def test_trees_kept_as_arrays_give_the_same_probabilities(text: str) -> None:
    trees = parse(text)
    np.testing.assert_array_equal(from_arrays(trees.arrays(), 5).predict(FEATURES), trees.predict(FEATURES))


def test_arrays_that_lead_in_circles_are_refused(text: str) -> None:
    arrays = parse(text).arrays()
    arrays["left"][0], arrays["left"][1] = 1, 0
    with pytest.raises(TreesError, match="back to itself"):
        from_arrays(arrays, 5)
