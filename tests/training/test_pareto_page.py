import pytest
from rich.console import Console

from training.pareto_page import efficient, front_table, write_page, write_plot


def row(trial: int, work: float, price: float, met: float) -> dict:
    parameters = {"serving_cpu_cores": 1.0, "serving_batch_size": 4}
    setting = {"serving_cpu_cores": 0.75, "serving_batch_size": 4.0}
    figures = {"work": work, "price": price, "slo_attainment": met}
    return {"trial": trial, **figures, "parameters": parameters, "setting": setting}


@pytest.fixture
def result() -> dict:
    front = [row(7, 0.2, 0.4, 0.1), row(8, 0.5, 1.0, 0.05), row(9, 0.8, 1.2, 0.9)]
    references = {"static": [0.3, 1.6, 0.05], "aimd": [0.9, 1.1, 0.92]}
    return {"study": "static", "trials": 24, "failed": 1, "front": front, "references": references}


def test_only_points_with_more_work_per_price_than_any_of_better_attainment_are_listed():
    front = [row(1, 0.8, 1.0, 0.9), row(2, 0.7, 1.0, 0.8), row(3, 0.9, 1.0, 0.7)]
    assert [point["trial"] for point in efficient(front)] == [1, 3]


def test_the_table_shows_front_and_references(result):
    console = Console(width=100)
    with console.capture() as shown:
        console.print(front_table(result))
    assert "24 trials, 3 on the front" in shown.get()
    for words in ("9", "0.667", "90.0%", "aimd", "92.0%"):
        assert words in shown.get()


def test_the_page_holds_the_picture_and_settings_as_granted_and_needs_nothing_else(result, tmp_path):
    write_page(tmp_path / "new" / "front.html", result)
    page = (tmp_path / "new" / "front.html").read_text()
    assert "<svg" in page
    assert "<td>0.75</td>" in page
    assert "24 trials, 1 failed" in page
    assert "<script" not in page
    assert "src=" not in page


def test_a_name_is_not_taken_as_markup(result, tmp_path):
    write_page(tmp_path / "front.html", result | {"study": "<b>static"})
    assert "<b>static" not in (tmp_path / "front.html").read_text()


def test_an_empty_front_can_be_shown(result, tmp_path):
    write_page(tmp_path / "front.html", result | {"front": []})
    assert front_table(result | {"front": []}).row_count == 2


def test_the_ending_decides_the_format_of_the_picture(result, tmp_path):
    write_plot(tmp_path / "front.png", result)
    write_plot(tmp_path / "front.svg", result)
    assert (tmp_path / "front.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "front.svg").read_text()
