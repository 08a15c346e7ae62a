import re

from training.evaluation_page import write_page

POLICIES = ("static", "best_static", "threshold", "oracle", "ppo")


def test_the_page_needs_nothing_but_itself_and_shows_every_policy_and_hash(evaluation, tmp_path):
    write_page(tmp_path / "new" / "page.html", evaluation)
    page = (tmp_path / "new" / "page.html").read_text()
    assert page.count("<svg") == 3
    assert "<script" not in page
    assert not re.search(r"""(src|href)=["']?https?:""", page)
    for word in (*POLICIES, "ab" * 32, "smd-5", "servegen-5", "best heuristic: threshold"):
        assert word in page


def test_names_are_escaped(evaluation, tmp_path):
    write_page(tmp_path / "page.html", evaluation | {"spec": "<b>mine</b>"})
    assert "<b>mine" not in (tmp_path / "page.html").read_text()
