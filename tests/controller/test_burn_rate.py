import numpy as np
import pytest

from controller.burn_rate import BurnConfig, burning


def broken(text):
    return np.array([[letter == "x"] for letter in text])


@pytest.mark.clause("E2")
@pytest.mark.parametrize(
    ("periods", "burns"),
    [("", False), ("x", False), ("xx", True), ("x.", False), (".x", False), ("......xx", False), (".......xxx", True)],
)
def test_both_windows_have_to_burn(periods, burns):
    assert burning(broken(periods).reshape(-1, 1), BurnConfig()).tolist() == [burns]
