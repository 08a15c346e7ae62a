import io

from rich.console import Console

from training.evaluation_tables import evaluation_table, notes, summary_table

POLICIES = ("static", "best_static", "threshold", "oracle", "ppo")


def test_tables_name_every_policy_and_reference(evaluation):
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(evaluation_table(evaluation))
    console.print(summary_table(evaluation))
    text = console.export_text()
    for word in (*POLICIES, "best heuristic: threshold"):
        assert word in text


def test_the_tables_fit_into_80_characters(evaluation):
    longest = {"vs_best_by_efficiency_at_slo": evaluation["summary"]["vs_static"] | {"name": "random-search"}}
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(evaluation_table(evaluation))
    console.print(summary_table(evaluation | {"summary": evaluation["summary"] | longest}))
    assert "…" not in console.export_text()


def test_notes_tell_headroom_and_what_the_traces_are(evaluation):
    text = "\n".join(notes(evaluation))
    assert "the oracle leads threshold by" in text
    assert "1 not declared: yours: mine" in text


def test_declared_traces_that_are_not_there_are_told(evaluation):
    protocol = {"declared": {"there.csv": "ok", "gone.csv": "missing", "bad.csv": "other content"}}
    text = "\n".join(notes(evaluation | {"protocol": protocol}))
    assert "not judged on: gone.csv (missing), bad.csv (other content)" in text


def test_traces_seen_in_training_are_told(evaluation):
    traces = [trace | {"trained_on": True} for trace in evaluation["protocol"]["traces"]]
    text = "\n".join(notes(evaluation | {"protocol": {"traces": traces}}))
    assert "SEEN IN TRAINING, so that they say little: mine" in text


def test_a_changed_generator_is_told(evaluation):
    generated = {"set": "test", "seeds": [9001], "sha256": "0", "agrees": False}
    assert "the generator has changed" in "\n".join(notes(evaluation | {"protocol": {"generated": generated}}))
