"""The totals are exact, whatever befalls what is told of a job: `make histories` plays 100,000 of these."""

from __future__ import annotations

from collections import Counter

import pytest
from job_histories import play

from cdk_cryoem_lambda.records import Records
from cryoem_head import forgotten_jobs, job_completion

HISTORIES = 1500


@pytest.fixture(autouse=True)
def slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put back what a history replaces."""
    monkeypatch.setattr(forgotten_jobs, "ended", forgotten_jobs.ended)
    monkeypatch.setattr(job_completion, "tres_of", job_completion.tres_of)


def wrong(histories: int) -> list[int]:
    return [seed for seed in range(histories) if (lambda played: played[0] != played[1])(play(seed))]


def test_totals_are_exact_in_every_history() -> None:
    faults: Counter[str] = Counter()
    for seed in range(HISTORIES):
        found, expected, met = play(seed)
        assert found == expected, f"seed {seed}"
        faults += met
    assert set(faults) == {
        *("completion lost", "refused", "duplicate", "answer lost", "sent again"),
        *("died before", "died after", "conflict"),
    }


def test_totals_that_are_written_apart_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    write = Records._write

    def apart(self: Records, *changes: dict[str, object], events: object = ()) -> bool:
        told = [write(self, change) for change in changes]
        return told[0]

    monkeypatch.setattr(Records, "_write", apart)
    assert wrong(60)


def test_jobs_that_nobody_looks_for_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forgotten_jobs, "spool", lambda here, *, now: [])
    assert wrong(60)
