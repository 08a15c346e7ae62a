import sys

import pytest

import trimtab


def searched(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["trimtab", "search", *arguments])
    with pytest.raises(SystemExit) as ended:
        trimtab.main()
    return int(ended.value.code)


def test_an_unknown_pareto_search_is_one_line_that_lists_the_known_ones(monkeypatch, capsys, tmp_path):
    assert searched(monkeypatch, "--pareto", "magic", "--study", str(tmp_path / "a.db")) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "a.db").exists()


def test_a_pareto_search_without_a_file_says_so(monkeypatch, capsys):
    assert searched(monkeypatch, "--pareto", "static") == 2
    assert "--study" in capsys.readouterr().err


def test_one_search_at_a_time(monkeypatch, capsys, tmp_path):
    assert searched(monkeypatch, "--policies", "--pareto", "static", "--study", str(tmp_path / "a.db")) == 2
    assert "--policies" in capsys.readouterr().err


def test_a_file_that_is_no_study_is_one_line(monkeypatch, capsys, tmp_path):
    (tmp_path / "no.db").write_text("this is not a database " * 50)
    assert searched(monkeypatch, "--pareto", "static", "--study", str(tmp_path / "no.db")) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "no.db" in line


def test_a_missing_extra_is_one_line_that_says_how_to_get_it(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert searched(monkeypatch, "--pareto", "static", "--study", str(tmp_path / "a.db")) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "pip install 'trimtab[search]'" in line
