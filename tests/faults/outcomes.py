"""What has to be true of every run, whatever happened to it."""

from tests.faults.grid_run import GridRun, Outcome


def assert_same(outcome: Outcome, undisturbed: Outcome) -> None:
    """Say what differs from the run that nothing happened to."""
    assert (outcome.state, outcome.error) == ("finished", None)
    assert outcome.failures == []
    assert undisturbed.members.keys() - outcome.members.keys() == set(), "lost"
    assert {item: n for item, n in outcome.told.items() if n > 1} == {}, "doubled"
    assert outcome.members == undisturbed.members
    assert outcome.results == undisturbed.results
    assert outcome.rows == undisturbed.rows
    assert outcome.done == undisturbed.done
    assert outcome.counts == undisturbed.counts


def assert_no_twins(grid: GridRun) -> None:
    """Say so if the long task ever ran beside itself, or after its end."""
    lines = grid.journal_of("long")
    words = [line[0] for line in lines]
    assert words.count("end") == 1
    assert words[-1] == "end", "it was begun again after its end"
    assert lines[-1][3] == lines[-2][3], "another process ended it than began it last"
