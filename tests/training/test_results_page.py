import json
import re
from pathlib import Path

import pytest

from training.results_page import BEGIN, END, GENERATED, REAL, ResultsError, fill, fill_file, save_result

ROOT = Path(__file__).parents[2]
SAVED = [ROOT / "docs" / "results" / name for name in (GENERATED, REAL)]


@pytest.mark.skipif(not all(file.is_file() for file in SAVED), reason="no saved evaluations in docs/results")
def test_the_readme_agrees_with_the_saved_evaluations():
    text = (ROOT / "README.md").read_text()
    generated, real = (json.loads(file.read_text()) for file in SAVED)
    assert fill(text, generated, real) == text, "run `trimtab results`"


@pytest.mark.parametrize("file", SAVED, ids=lambda file: file.name)
def test_saved_evaluations_are_small(file):
    if not file.is_file():
        pytest.skip("not saved")
    assert file.stat().st_size < 150_000


def test_saved_results_are_short_and_keep_what_the_readme_needs(evaluation, tmp_path):
    save_result(tmp_path / "new" / "generated.json", evaluation)
    text = (tmp_path / "new" / "generated.json").read_text()
    saved = json.loads(text)
    assert saved["summary"].keys() == evaluation["summary"].keys()
    assert len(saved["rows"]) == len(evaluation["rows"])
    assert not re.search(r"\d\.\d{7}", text)
    assert "NaN" not in text


def test_the_readme_is_filled_between_its_markers_and_stays_the_same_when_filled_again(evaluation, tmp_path):
    for name in ("generated.json", "real.json"):
        save_result(tmp_path / name, evaluation)
    readme = tmp_path / "README.md"
    readme.write_text(f"above\n{BEGIN}\nwritten by hand\n{END}\nbelow\n")
    fill_file(readme, tmp_path)
    once = readme.read_text()
    assert once.startswith(f"above\n{BEGIN}\n| policy")
    assert once.endswith(f"{END}\nbelow\n")
    assert "by hand" not in once
    assert "| **PPO, both** |" in once
    assert "over threshold, SLOs +0.0 points on generated days" in once
    fill_file(readme, tmp_path)
    assert readme.read_text() == once


def test_a_file_without_markers_is_refused(evaluation):
    with pytest.raises(ResultsError, match="evaluate:begin"):
        fill("nothing", evaluation, evaluation)


def test_missing_results_are_refused_with_what_to_do(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"{BEGIN}\n{END}\n")
    with pytest.raises(ResultsError, match="evaluate --save"):
        fill_file(readme, tmp_path)
