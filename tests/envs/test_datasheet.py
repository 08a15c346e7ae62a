"""The data sheets say what the environments are, and docs/environments.md is what they say."""

from pathlib import Path

import gymnasium
import numpy as np
import pytest

from envs.datasheet import COMMAND, datasheet, page, write
from envs.registration import ENVIRONMENTS, register_environments
from envs.spec import SystemSpec
from envs.task import Task

PAGE = Path(__file__).parents[2] / "docs" / "environments.md"
SPEC = SystemSpec.load("reference")


def test_the_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == page(), f"run `{COMMAND}`"


def test_the_page_holds_every_registered_environment():
    written = page()
    assert all(f"## {name}\n" in written for name in ENVIRONMENTS)


@pytest.mark.parametrize(("name", "made"), ENVIRONMENTS.items())
def test_a_sheet_says_what_the_environment_is(name, made):
    register_environments()
    env = gymnasium.make(name)
    sheet = datasheet(SystemSpec.load(made["spec"]), made["task"])
    assert sheet.startswith(f"## {name}\n")
    assert f"`Box({env.observation_space.shape}, float32)`" in sheet
    assert f"`Box(-1, 1, {env.action_space.shape}, float32)`" in sheet
    env.close()


@pytest.mark.parametrize("made", ENVIRONMENTS.values(), ids=list(ENVIRONMENTS))
def test_every_entry_of_an_observation_has_its_place_and_its_range(made):
    task = Task(SystemSpec.load(made["spec"]), made["task"])
    table = datasheet(task.spec, task.name).split("### Observation")[1].split("### Action")[0]
    rows = [[cell.strip() for cell in line.split(" | ")] for line in table.strip().split("\n")[2:]]
    told = {row[1].strip("`"): row[0].strip("| ") for row in rows}
    for place, label in enumerate(task.labels):
        if not label.startswith("trend/"):
            assert told[label] == str(place)
    trends = [place for place, label in enumerate(task.labels) if label.startswith("trend/")]
    assert told["trend/<metric>"] == f"{trends[0]}–{trends[-1]}"
    assert len(rows) == task.n_observation - len(trends) + 1


@pytest.mark.parametrize("role", ["allocation", "tuning", "joint"])
def test_every_knob_is_an_action_or_somebody_elses(role):
    task, sheet = Task(SPEC, role), datasheet(SPEC, role)
    actions = sheet.split("### Action")[1].split("### Reward")[0]
    for i, name in enumerate(task.action_labels):
        assert f"| {i} | `{name}` |" in actions
    others = set(SPEC.knob_names) - set(task.action_labels)
    assert ("Set by a partner policy" in actions) == bool(others)
    assert all(f"`{name}`" in actions for name in others)


def test_reward_terms_objectives_and_slos_are_named():
    task, sheet = Task(SPEC, "joint"), datasheet(SPEC, "joint")
    values, setting = np.ones(len(SPEC.metrics)), SPEC.default_setting
    for term in task.score(values, setting, setting):
        assert f"| `{term}` |" in sheet
    for i, name in enumerate(task.objective.objective_names):
        assert f"| {i} | `{name}` |" in sheet
    for slo in SPEC.slos:
        assert f"| {slo.name} | `{slo.metric}`" in sheet


@pytest.mark.parametrize("title", ["Starting state", "Episode end", "Seeds", "Version history"])
def test_a_sheet_has_the_environments_own_words(title):
    assert f"### {title}\n\n" in datasheet(SPEC, "allocation")


def test_a_system_of_ones_own_has_a_sheet_under_its_own_name():
    own = SPEC.model_copy(update={"name": "mine", "latency_slo_seconds": 0.3})
    sheet = datasheet(own, "tuning")
    assert sheet.startswith("## mine, tuning\n")
    assert "| latency deadline | 300 ms |" in sheet


def test_a_role_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="allocation, tuning and joint"):
        datasheet(SPEC, "scheduling")


def test_every_table_has_as_many_cells_as_its_head():
    for block in page().split("\n\n"):
        lines = block.split("\n")
        if lines[0].startswith("|"):
            assert len({line.replace("\\|", "").count("|") for line in lines}) == 1


def test_writing_gives_the_page(tmp_path):
    write(tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == page()
