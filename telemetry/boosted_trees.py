"""Evaluates LightGBM's models with numpy.

The control loop must start in a second and stay small; importing lightgbm costs 0.3 s and 50 MiB. It is needed for
training only: a test demands the same probabilities from both. Trees are kept as plain arrays: a sixth of the size of
LightGBM's text, and read in a tenth of the time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

CATEGORICAL, DEFAULT_LEFT, MISSING_NAN = 1, 2, 8  # bits of LightGBM's decision_type
MISSING_ZERO = 4
ARRAYS = {
    "feature": np.int32, "threshold": np.float64, "left": np.int32, "right": np.int32, "missing_left": np.bool_,
    "missing_as_zero": np.bool_, "value": np.float64, "roots": np.int32,
}  # fmt: skip
"""Of an ensemble on disk, with their types."""
ROWS_AT_ONCE = 512
"""Rows that are evaluated together. Default 512: rows x trees then stay in the processor's cache."""


class TreesError(ValueError):
    """A text, or arrays, that are no model of ours; one line."""


@dataclass(frozen=True, eq=False)
class Trees:
    """An additive ensemble of binary trees for a binary label.

    Nodes of all trees lie in one array; leaves are nodes that lead to themselves, so that every row takes the same
    number of steps. Attributes are of shape (n_nodes,) except `roots` (n_trees,).
    """

    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    missing_left: np.ndarray
    missing_as_zero: np.ndarray
    value: np.ndarray
    roots: np.ndarray
    depth: int
    n_features: int

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Probability of the label.

        Args:
            features: (N, n_features), NaN where unknown.

        Returns:
            (N,) in (0, 1).

        Raises:
            TreesError: another number of features.
        """
        if features.shape[1:] != (self.n_features,):
            raise TreesError(f"features of shape {features.shape}; the model needs (rows, {self.n_features})")
        parts = [features[at : at + ROWS_AT_ONCE] for at in range(0, len(features), ROWS_AT_ONCE)]
        raw = np.concatenate([self._raw(part) for part in parts]) if parts else np.zeros(0)
        return np.asarray(1.0 / (1.0 + np.exp(-raw)))

    def arrays(self) -> dict[str, np.ndarray]:
        """What `from_arrays` takes."""
        return {name: np.asarray(getattr(self, name), dtype=kind) for name, kind in ARRAYS.items()}

    def _raw(self, features: np.ndarray) -> np.ndarray:
        rows = np.arange(len(features))[:, None]
        node = np.broadcast_to(self.roots, (len(features), len(self.roots)))  # (N, n_trees)
        for _ in range(self.depth):
            value = features[rows, self.feature[node]]
            unknown = np.isnan(value)
            value = np.where(unknown & self.missing_as_zero[node], 0.0, value)
            to_left = np.where(np.isnan(value), self.missing_left[node], value <= self.threshold[node])
            node = np.where(to_left, self.left[node], self.right[node])
        return np.asarray(self.value[node].sum(axis=1))


def from_arrays(arrays: Mapping[str, np.ndarray], n_features: int) -> Trees:
    """An ensemble as `Trees.arrays` gave it.

    Raises:
        TreesError: arrays that are missing, of other types or lengths, or that lead out of the ensemble or in circles.
    """
    wrong = [name for name, kind in ARRAYS.items() if name not in arrays or arrays[name].dtype != kind]
    if wrong:
        raise TreesError(f"trees without {', '.join(wrong)}, or of another type; make them with `forecast --train`")
    size = len(arrays["feature"])
    if not size or any(arrays[name].shape != (size,) for name in ARRAYS if name != "roots"):
        raise TreesError("trees whose arrays differ in length")
    inside = [("feature", n_features), ("left", size), ("right", size), ("roots", size)]
    out = [name for name, most in inside if not ((arrays[name] >= 0) & (arrays[name] < most)).all()]
    if out or not len(arrays["roots"]):
        raise TreesError(f"trees that lead nowhere: {', '.join(out) or 'no roots'}")
    try:
        depth = _depth(arrays["left"], arrays["right"], arrays["roots"])
    except ValueError as error:
        raise TreesError(str(error)) from None
    return Trees(**{name: arrays[name] for name in ARRAYS}, depth=depth, n_features=n_features)


def parse(text: str) -> Trees:
    """A model as `Booster.model_to_string` writes it.

    Raises:
        TreesError: not such a text, or trees that this module does not evaluate (categories, other objectives).
    """
    head, *sections = text.split("\nTree=")
    header = _fields(head)
    if not sections or "max_feature_idx" not in header or "sigmoid:1" not in header.get("objective", ""):
        raise TreesError("no text model of LightGBM with objective binary; make one with `trimtab forecast --train`")
    try:
        trees = [_fields(section.partition("\nend of trees")[0]) for section in sections]
        return _joined(trees, int(header["max_feature_idx"]) + 1)
    except (KeyError, ValueError, IndexError) as error:
        raise TreesError(f"damaged text model of LightGBM ({error})") from error


def _fields(section: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in section.splitlines())
    return {name: value for name, equals, value in pairs if equals}


def _joined(trees: list[dict[str, str]], n_features: int) -> Trees:
    columns: dict[str, list[np.ndarray]] = {
        name: [] for name in ("feature", "threshold", "left", "right", "kind", "value")
    }
    roots, offset, depth = [], 0, 0
    for tree in trees:
        parts = _nodes(tree)
        depth = max(depth, _depth(parts["left"], parts["right"], np.array([0])))
        for name, part in parts.items():
            columns[name].append(part + offset if name in ("left", "right") else part)
        roots.append(offset)
        offset += len(parts["value"])
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    kind = joined.pop("kind")
    if (kind & (CATEGORICAL | MISSING_ZERO)).any():
        raise TreesError("a model with categories or zeros as missing values; train without them")
    if len(joined["feature"]) and joined["feature"].max() >= n_features:
        raise ValueError("a split on a feature that does not exist")
    missing_left = (kind & DEFAULT_LEFT).astype(bool)
    return Trees(
        **joined,
        missing_left=missing_left,
        missing_as_zero=(kind & MISSING_NAN) == 0,  # features without NaN in training: LightGBM reads NaN as 0
        roots=np.array(roots),
        depth=depth,
        n_features=n_features,
    )


def _nodes(tree: dict[str, str]) -> dict[str, np.ndarray]:
    """Splits, then leaves, of one tree; a leaf leads to itself."""
    leaves = np.array(tree["leaf_value"].split(), dtype=np.float64)
    splits = len(leaves) - 1
    itself = splits + np.arange(len(leaves))

    def ints(name: str) -> np.ndarray:
        found = np.array(tree.get(name, "").split(), dtype=np.int64)
        if len(found) != splits:
            raise ValueError(f"{name} has {len(found)} values, not {splits}")
        return found

    children = [np.where(side >= 0, side, splits - side - 1) for side in (ints("left_child"), ints("right_child"))]
    none = np.zeros(len(leaves), dtype=np.int64)
    thresholds = np.array(tree.get("threshold", "").split(), dtype=np.float64)
    return {
        "feature": np.concatenate([ints("split_feature"), none]),
        "threshold": np.concatenate([thresholds, np.zeros(len(leaves))]),
        "left": np.concatenate([children[0], itself]),
        "right": np.concatenate([children[1], itself]),
        "kind": np.concatenate([ints("decision_type"), none]),
        "value": np.concatenate([np.zeros(splits), leaves]),
    }


def _depth(left: np.ndarray, right: np.ndarray, roots: np.ndarray) -> int:
    """Steps to the deepest leaf below the roots."""
    level, depth = roots, 0
    while True:
        below = np.unique(np.concatenate([left[level], right[level]]))
        if np.array_equal(below, level):
            return depth
        level, depth = below[(left[below] != below)], depth + 1
        if not len(level):
            return depth
        if depth > len(left):
            raise ValueError("a tree that leads back to itself")
