import sys

import pytest

from training.extras import MissingExtra, extra


def test_a_missing_library_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "cmaes", None)
    with pytest.raises(MissingExtra, match=r"needs cmaes, which is missing: pip install 'trimtab\[search\]'"):
        extra("cmaes")


def test_a_library_that_is_there_is_given():
    assert extra("cmaes").SepCMA
