"""Whom admit-jobs lets start, whom it holds, and that no cap is ever exceeded, whatever is late."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Fake

from cryoem_head import admit_jobs, queue, settings, slurm
from cryoem_head.admit_jobs import Admission, Meter
from cryoem_head.caps import Cap, Wish
from cryoem_head.ledger import Ledger
from cryoem_head.queue import Queued

NOW = 1_795_000_000.0  # 2026-11-18
MONTH = Cap(name="month", limit=100, projects=(), each=False, period="month", hard=True)


class Records:
    """The table, as far as the head node may read it."""

    def __init__(self) -> None:
        self.items: dict[str, dict[str, dict[str, Any]]] = {"spend": {}, "job": {}, "cap": {}}

    def get_paginator(self, _: str) -> Records:
        return self

    def paginate(self, *, ExpressionAttributeValues: Any, ConsistentRead: bool, **_: Any) -> Iterator[dict[str, Any]]:
        assert ConsistentRead
        kind, since = ExpressionAttributeValues[":pk"]["S"], ExpressionAttributeValues.get(":since", {"S": ""})["S"]
        starts = ExpressionAttributeValues.get(":starts", {"S": ""})["S"]
        for sk, item in sorted(self.items[kind].items()):
            if sk >= since and sk.startswith(starts):
                yield {"Items": [{"sk": {"S": sk}, **{name: {"N": str(v)} for name, v in item.items()}}]}

    def count(self, job_id: str, *, ended_at: float, micro: int, project: str = "spike") -> None:
        """What the meter writes of a job."""
        self.items["job"][f"{int(ended_at):012d}#{job_id}"] = {}
        for name in ("2026-11#month", f"always#project#{project}"):
            self.items["spend"].setdefault(name, {"usd_micro": 0})["usd_micro"] += micro


@dataclass
class World:
    """A queue, what was asked of Slurm, and the files."""

    ledger: Ledger
    records: Records
    monkeypatch: pytest.MonkeyPatch
    asked: list[tuple[str, ...]] = field(default_factory=list)
    most: dict[str, int | None] = field(default_factory=dict)
    gated: bool = True
    shown: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.admission = Admission(self.ledger, Meter("t", dynamodb=self.records), gated=lambda: self.gated)

    def restart(self) -> None:
        """Of the program."""
        self.ledger = Ledger(self.ledger._root.parent)
        self.__post_init__()

    def look(self, *jobs: Queued, caps: tuple[Cap, ...] = (MONTH,), now: float = NOW) -> None:
        """One look."""
        self.asked.clear()
        self.shown |= {each.job_id: each.state for each in jobs}
        self.admission.look(list(jobs), rules=list(caps), lanes={}, now=now)

    def wish(self, job: Queued, _: object) -> Wish:
        most = self.most.get(job.job_id, 60)
        most = None if most is None else most * job.tasks
        return Wish(job_id=job.job_id, project=job.project, lane="gpu1", hours=1, most=most)

    def run(self, *command: str) -> str:
        if command[0] == "squeue":
            return self.shown.get(command[3], "") if command[5] == "%T" else "its own comment\n"
        self.asked.append(command[1:])
        return ""

    @property
    def admitted(self) -> set[str]:
        return set(self.ledger.admitted())


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(Ledger(tmp_path), Records(), monkeypatch)
    monkeypatch.setattr(queue, "wish", made.wish)
    monkeypatch.setattr(slurm, "run", made.run)
    return made


def job(number: int, state: str = "PENDING", reason: str = "Resources", **changes: Any) -> Queued:
    made = Queued(
        job_id=str(number),
        state=state,
        reason=reason,
        partitions=("gpu1",),
        minutes=60.0,
        asked="1 8 16G gres/gpu:1",
        gpus_per_node=1,
        submitted="2026-11-18T10:00:00",
        project="spike",
    )
    return replace(made, **changes)


def test_who_has_room_starts_and_the_next_one_is_held_with_the_reason(world: World) -> None:
    world.look(job(2), job(1))
    assert world.admitted == {"1"}
    why = "cap month: 0.00 of 0.01 USD spent, jobs that run may cost 0.01; this one may cost 0.01 (1 h on gpu1)"
    assert world.asked == [("hold", "2"), ("update", "jobid=2", f"comment={why}", f"admincomment={why}")]
    assert world.ledger.held() == {"2"}


def test_it_is_released_when_what_ran_was_cheaper_and_is_counted(world: World) -> None:
    world.look(job(1), job(2))
    held = job(2, reason="JobHeldAdmin")
    world.look(held, now=NOW + 10)
    assert (world.ledger.reserves()[0].most, world.asked) == (60, []), "it has ended, and nobody knows yet what it cost"
    world.records.count("1", ended_at=NOW + 5, micro=30)
    world.look(held, now=NOW + 20)
    assert world.admitted == {"2"}
    assert world.asked == [("release", "2"), ("update", "jobid=2", "comment=its own comment", "admincomment=")]
    assert world.ledger.held() == set()


def test_a_job_with_the_same_number_that_was_counted_before_it_began_is_another(world: World) -> None:
    world.records.count("1", ended_at=NOW - 5, micro=1)
    world.look(job(1))
    world.look(now=NOW + 10)
    assert len(world.ledger.ended()) == 1


def test_whom_somebody_else_holds_or_who_waits_for_another_is_left_alone(world: World) -> None:
    world.look(job(1, reason="JobHeldUser"), job(2, reason="JobHeldAdmin"), job(3, reason="Dependency"))
    assert (world.admitted, world.asked) == (set(), [])


def test_who_has_nodes_already_goes_back_into_the_queue(world: World) -> None:
    world.most["1"] = 101
    world.look(job(1, "CONFIGURING", "None"))
    assert world.asked[0] == ("requeuehold", "1")


def test_who_runs_is_never_touched_and_counts(world: World) -> None:
    world.most["1"] = 10_000
    world.look(job(1, "RUNNING", "None"), job(2))
    assert world.admitted == {"1"}
    assert [command[:2] for command in world.asked] == [("hold", "2"), ("update", "jobid=2")]


def test_a_reason_is_not_said_every_two_seconds(world: World) -> None:
    world.most["2"] = 101
    world.look(job(2))
    held = job(2, reason="JobHeldAdmin")
    world.records.count("1", ended_at=NOW, micro=3)
    world.look(held, now=NOW + 32)
    assert world.asked == []
    world.look(held, now=NOW + 62)
    assert [command[0] for command in world.asked] == ["update"]


def test_without_hard_caps_the_gate_is_open_and_nobody_is_held(world: World, tmp_path: Path) -> None:
    world.most["2"] = 101
    world.look(job(2))
    assert (tmp_path / "caps" / "gate").exists()
    world.look(job(2, reason="JobHeldAdmin"), caps=(replace(MONTH, hard=False),))
    assert not (tmp_path / "caps" / "gate").exists()
    assert world.asked[0] == ("release", "2")


def test_a_raised_cap_holds_until_its_time(world: World) -> None:
    world.most["1"] = 150
    world.records.items["cap"]["month"] = {"usd_micro": 200, "until": NOW + 50}
    world.look(job(1), now=NOW + 51)
    assert world.admitted == set()
    world.restart()
    world.look(job(1, reason="JobHeldAdmin"), now=NOW + 49)
    assert world.admitted == {"1"}


def test_what_is_not_heard_of_is_given_up_after_two_days(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    world.look(job(1))
    # It ran for two days: what counts is since when it is gone.
    gone = NOW + 2 * 86_400
    world.look(job(1, "RUNNING", "None"), now=gone - 2)
    world.look(now=gone)
    assert (world.admitted, len(world.ledger.ended())) == (set(), 1)
    world.look(now=gone + 2 * 86_400)
    assert len(world.ledger.ended()) == 1
    world.look(now=gone + 2 * 86_400 + 1)
    assert world.ledger.ended() == {}
    assert "nothing was heard of job 1" in capsys.readouterr().err


@pytest.mark.parametrize("seed", range(60))
def test_no_schedule_exceeds_a_cap_or_lets_somebody_start_who_was_not_admitted(world: World, seed: int) -> None:
    """Jobs come, start when Slurm likes, run until their limit at most, and are counted late, out of order, or while
    admission sleeps; the head node restarts. What all jobs truly cost stays within the limit, and nobody waits for ever."""
    chance = random.Random(seed)
    now, number = NOW, 0
    waiting: dict[str, Queued] = {}
    running: dict[str, tuple[float, int, int]] = {}  # start, limit in seconds, price a second
    uncounted: list[tuple[str, float, int]] = []
    cost = 0

    def shown() -> list[Queued]:
        return [*waiting.values(), *(job(int(each), "RUNNING", "None") for each in running)]

    def true_cost() -> int:
        return cost + sum(price * int(now - start) for start, _, price in running.values())

    for _ in range(120):
        now += chance.choice([1, 5, 30])
        step = chance.random()
        if step < 0.25:
            number += 1
            seconds, price = chance.choice([10, 60, 300]), chance.choice([1, 2])
            world.most[str(number)] = seconds * price
            waiting[str(number)] = job(number, minutes=seconds / 60, asked=str(price))
        elif step < 0.55:
            if chance.random() < 0.1:
                world.restart()
            world.look(*shown(), caps=(replace(MONTH, limit=400),), now=now)
            for command in world.asked:
                if command[0] in ("hold", "release"):
                    reason = "JobHeldAdmin" if command[0] == "hold" else "Resources"
                    waiting[command[1]] = replace(waiting[command[1]], reason=reason)
                assert command[0] != "requeuehold" or command[1] not in running
        elif step < 0.75 and waiting:
            each = waiting[chance.choice(sorted(waiting))]
            # What PrologSlurmctld looks at.
            if each.reason == "Resources" and each.job_id in world.admitted:
                del waiting[each.job_id]
                running[each.job_id] = (now, round((each.minutes or 0) * 60), int(each.asked))
        elif step < 0.78 and uncounted:
            done = uncounted.pop(chance.randrange(len(uncounted)))
            world.records.count(done[0], ended_at=done[1], micro=done[2])
        for name, (start, limit, price) in list(running.items()):
            if now - start >= limit or chance.random() < 0.04:
                end = min(now, start + limit)
                del running[name]
                spent = price * int(end - start)
                cost += spent
                uncounted.append((name, end, spent))
        running = {n: r for n, r in running.items() if now - r[0] < r[1]}
        assert true_cost() <= 400
    while uncounted:
        done = uncounted.pop()
        world.records.count(done[0], ended_at=done[1], micro=done[2])
    world.look(*shown(), caps=(replace(MONTH, limit=10**9),), now=now + 60)
    assert set(waiting) <= world.admitted, "nobody waits once there is room"


def shows(fake: Fake, *rows: str) -> None:
    """squeue shows these rows, their fields between bars; ~ is a line's end in a field."""
    shown = "\n".join(rows)
    fake(
        "squeue",
        f"""sep=$(printf %s "$*" | sed -E 's/.*--format ([0-9a-f]{{16}}).*/\\1/')
while IFS= read -r row; do printf '%s\\n' "$sep${{row//|/$sep}}$sep" | tr '~' '\\n'; done <<'JOBS'
{shown}
JOBS""",
    )


def test_the_queue_as_squeue_shows_it(home: Path, fake: Fake) -> None:
    here = settings.load()
    day = "2026-11-18T10:00:00"
    shows(
        fake,
        f"7|PENDING|Resources|gpu1,gpu4|2-00:00:00|1-1|8|16G|gres/gpu:1|{day}|{here.projects}/spike/J3",
        f"8|RUNNING|None|cpu|UNLIMITED|2|8|16G|N/A|{day}|/fsx/x~99 RUNNING",
        f"9|PENDING|Priority|gpu1|30:00|1|8|16G|gres:gpu:a10g:2|{day}|/home/ada",
        f"10|PENDING|Priority|gpu1|5:00|1|8|16G|craynetwork:1|{day}|/home/ada",
        f"9|PENDING|Priority|gpu1|30:00|1|8|16G|gres:gpu:a10g:2|{day}|/home/ada",
    )
    found = queue.jobs(here.projects)
    assert [(each.job_id, each.minutes, each.gpus_per_node, each.project, each.tasks) for each in found] == [
        ("7", 2880.0, 1, "spike", 1),
        ("8", None, 0, "", 1),
        ("9", 30.0, 2, "", 2),
        ("10", 5.0, None, "", 1),
    ]
    assert (found[0].partitions, found[0].submitted) == (("gpu1", "gpu4"), day)
    assert found[1].runs


def test_a_folder_whose_name_is_no_utf8_stops_nobody(home: Path, fake: Fake) -> None:
    here = settings.load()
    fake(
        "squeue",
        """sep=$(printf %s "$*" | sed -E 's/.*--format ([0-9a-f]{16}).*/\\1/')
printf "${sep}7${sep}PENDING${sep}None${sep}gpu1${sep}1:00${sep}1${sep}1${sep}1G${sep}N/A${sep}t${sep}/fsx/m\\xfcller${sep}\\n" """,
    )
    assert [each.job_id for each in queue.jobs(here.projects)] == ["7"]


LANES = {
    "gpu1": {"gpus": 1, "vcpus": 16, "memory_mib": 62_259, "usd_per_hour": 1.6},
    "gpu4": {"gpus": 4, "vcpus": 48, "memory_mib": 186_777, "usd_per_hour": 4.0},
}


OK = "NumNodes=1-1 OverSubscribe=OK"


@pytest.mark.parametrize(
    ("shown", "changes", "most"),
    [
        (f"{OK} TRES=cpu=8,mem=16G,node=1,billing=8", {}, 1.6),
        (f"{OK} ReqTRES=cpu=8,mem=16G,node=1 AllocTRES=(null)", {"gpus_per_node": 0}, 1.6 / 2),
        (f"{OK} TRES=cpu=8,mem=16G TRES=cpu=1,mem=1M", {"gpus_per_node": 0}, 1.6),
        (f"{OK} TRES=cpu=8,mem=16G", {"gpus_per_node": None}, 1.6),
        (f"{OK} TRES=cpu=12,mem=16G", {"partitions": ("gpu1", "gpu4")}, 1.6),
        (f"{OK} TRES=cpu=48,mem=16G", {"partitions": ("gpu1", "gpu4")}, 1.6 * 3),
        (f"{OK} TRES=cpu=48,mem=16G", {"partitions": ("gpu4",)}, 4.0),
        (f"{OK} TRES=cpu=8,mem=16G", {"partitions": ("gpu1", "gone")}, None),
        (f"{OK} TRES=cpu=8,mem=16G", {"minutes": None}, None),
        ("NumNodes=1-1 OverSubscribe=NO TRES=cpu=1,mem=1G", {"gpus_per_node": 0}, 1.6),
        ("NumNodes=1-1 TRES=cpu=1,mem=1G", {"gpus_per_node": 0}, 1.6),
        (f"{OK} TresPerJob=gres:gpu:1 TRES=cpu=1,mem=1G", {"gpus_per_node": 0}, 1.6),
        ("NumNodes=1-4 OverSubscribe=NO TRES=cpu=1,mem=1G", {"gpus_per_node": 0}, 1.6 * 4),
        # 32 CPUs of a lane that has 16 on a node: two nodes.
        (f"{OK} TRES=cpu=32,mem=16G", {"gpus_per_node": 0}, 1.6 * 2),
        (f"{OK} TRES=cpu=8,mem=16G", {"gpus_per_node": 0, "tasks": 3}, 1.6 / 2 * 3),
    ],
)
def test_what_a_job_may_cost(fake: Fake, home: Path, shown: str, changes: dict[str, Any], most: float | None) -> None:
    settings.load()
    fake("scontrol", f"echo 'JobId=7 JobName=x {shown} WorkDir=/x'")
    wish = queue.wish(job(7, **changes), LANES)
    assert wish.most == (None if most is None else pytest.approx(most * 63 / 60 * 1_000_000, abs=3))


def test_main_needs_no_table_where_there_are_no_caps(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["admit-jobs"])
    admit_jobs.main()
    assert "no caps" in capsys.readouterr().err


def test_main_lets_nobody_start_when_what_was_spent_cannot_be_read(
    home: Path, fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "etc" / "head-node.env").open("a").write("RECORDS_TABLE=records\n")
    monkeypatch.setattr("sys.argv", ["admit-jobs"])

    class Away:
        def __getattr__(self, name: str) -> Callable[..., Any]:
            def call(**_: Any) -> Any:
                raise OSError("no route to AWS")

            return call

    monkeypatch.setattr("boto3.client", lambda *_, **__: Away())
    with pytest.raises(OSError, match="no route"):
        admit_jobs.main()
    assert not (home / "caps" / "gate").exists(), "nobody has ever said that there are caps"
    (home / "caps" / "gate").touch()
    with pytest.raises(OSError, match="no route"):
        admit_jobs.main()
    assert (home / "caps" / "gate").exists()
    assert list((home / "caps" / "admitted").iterdir()) == []


def test_while_caps_cannot_be_kept_jobs_are_held_with_the_reason_and_no_node_boots_for_them(world: World) -> None:
    queued = [job(1), job(2, "CONFIGURING", "None"), job(3, "RUNNING", "None")]
    world.shown = {"2": "CONFIGURING"}
    world.admission.hold_everybody(queued, "caps cannot be kept now: no route", now=NOW)
    assert [command[:2] for command in world.asked if command[0] != "update"] == [("hold", "1"), ("requeuehold", "2")]
    comments = [f"{name}=caps cannot be kept now: no route" for name in ("comment", "admincomment")]
    assert ("update", "jobid=1", *comments) in world.asked
    held = [replace(queued[0], reason="JobHeldAdmin"), job(2, reason="job requeued in held state"), queued[2]]
    world.look(*held, caps=(replace(MONTH, limit=1000),), now=NOW + 5)
    assert world.admitted == {"1", "2", "3"}
    assert [command for command in world.asked if command[0] == "release"] == [("release", "1"), ("release", "2")]


def test_a_run_that_was_put_back_is_asked_again_and_what_it_cost_stays_reserved(world: World) -> None:
    """Its spot node was taken, or its owner called scontrol requeue."""
    world.look(job(1))
    world.look(job(1, "RUNNING", "None"), now=NOW + 5)
    again = job(1, reason="BeginTime", submitted="2026-11-18T10:00:30")
    world.look(again, now=NOW + 30)
    assert world.admitted == set(), "PrologSlurmctld finds no admission"
    again = replace(again, reason="Resources")
    world.look(again, now=NOW + 40)
    assert (world.admitted, world.asked[0]) == (set(), ("hold", "1")), "60 reserved and 60 wanted are above 100"
    world.records.count("1", ended_at=NOW + 30, micro=30)
    world.look(replace(again, reason="JobHeldAdmin"), now=NOW + 60)
    assert world.admitted == {"1"}


def test_a_waiting_job_that_is_changed_is_asked_again_and_a_running_one_reserves_more(world: World) -> None:
    world.look(job(1))
    world.most["1"] = 101
    world.look(job(1, asked="4 8 16G gres/gpu:1"), now=NOW + 2)
    assert (world.admitted, world.asked[0]) == (set(), ("hold", "1"))
    world.restart()
    world.most["2"] = 10
    world.look(job(1, reason="JobHeldAdmin"), job(2), now=NOW + 40)
    world.most["2"] = 80
    world.look(job(2, "RUNNING", "None", minutes=500.0), now=NOW + 42)
    assert [each.most for each in world.ledger.reserves()] == [80]


def test_whom_somebody_holds_after_he_was_admitted_reserves_nothing(world: World) -> None:
    world.look(job(1))
    world.look(job(1, reason="JobHeldUser"), now=NOW + 2)
    assert (world.admitted, world.ledger.reserves(), world.asked) == (set(), [], [])


def test_a_job_of_ours_that_its_owner_holds_is_not_released(world: World) -> None:
    world.most["1"] = 101
    world.look(job(1))
    world.look(job(1, reason="JobHeldUser"), caps=(replace(MONTH, limit=1000),), now=NOW + 40)
    assert world.asked == []


def test_somebody_who_releases_it_finds_it_held_again(world: World) -> None:
    world.most["1"] = 101
    world.look(job(1))
    world.look(job(1, reason="Priority"), now=NOW + 2)
    assert world.asked == [("hold", "1")]


def test_a_run_that_was_put_back_within_a_second_is_another_too(world: World) -> None:
    world.look(job(1))
    world.look(job(1, "RUNNING", "None"), now=NOW + 2)
    world.look(job(1, reason="BeginTime"), now=NOW + 4)
    assert (world.admitted, len(world.ledger.ended())) == (set(), 1)


@pytest.mark.parametrize("state", ["COMPLETING", "SPECIAL_EXIT", "REQUEUED", "RESV_DEL_HOLD"])
def test_a_job_between_two_states_is_neither_admitted_nor_held(world: World, state: str) -> None:
    world.look(job(1, state, "None"))
    assert (world.admitted, world.asked) == (set(), [])


def test_where_nobody_asks_us_before_a_job_begins_it_is_not_put_back(world: World) -> None:
    world.gated, world.most["1"] = False, 101
    world.look(job(1, "CONFIGURING", "None"))
    assert (world.admitted, world.asked) == (set(), [])
    world.look(job(1, "RUNNING", "None"), now=NOW + 2)
    assert world.admitted == {"1"}


def test_one_that_runs_by_now_is_not_put_back(world: World) -> None:
    world.most["1"] = 101
    world.shown = {}
    found = job(1, "CONFIGURING", "None")
    world.admission._ledger.close_gate()
    world.shown["1"] = "RUNNING"
    world.admission.look([found], rules=[MONTH], lanes={}, now=NOW)
    assert world.asked == []


def test_one_that_was_cancelled_a_moment_ago_keeps_nobody_waiting(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*command: str) -> str:
        if command[:2] == ("scontrol", "hold"):
            raise subprocess.CalledProcessError(1, command, stderr="Invalid job id specified")
        return world.run(*command)

    monkeypatch.setattr(slurm, "run", run)
    world.most["1"] = 101
    world.look(job(1), job(2))
    assert world.admitted == {"2"}
    assert "job 1: Invalid job id specified" in capsys.readouterr().err
    assert world.ledger.held() == set(), "what was not held is not noted"


def test_an_array_is_asked_as_a_whole_and_its_tasks_take_from_what_is_reserved(world: World) -> None:
    cap = (replace(MONTH, limit=200),)
    world.look(job(1, tasks=4), caps=cap)
    assert world.admitted == set(), "four times 60"
    world.restart()
    world.look(job(1, tasks=3, reason="JobHeldAdmin"), caps=cap, now=NOW + 40)
    assert [each.most for each in world.ledger.reserves()] == [180]
    world.look(job(1, tasks=2), job(5, "CONFIGURING", "None"), caps=cap, now=NOW + 42)
    assert sorted(each.most for each in world.ledger.reserves()) == [60, 120]


def test_main_with_a_manifest(home: Path, fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "etc" / "head-node.env").open("a").write("RECORDS_TABLE=records\n")
    lane = {"partition": "gpu1", **LANES["gpu1"]}
    entry = {"name": "month", "usd_micro": 10**9, "projects": [], "each": False, "period": "month", "hard": True}
    manifest = json.dumps({"lanes": [lane], "caps": [entry]})
    shows(fake, "7|PENDING|Resources|gpu1|1:00:00|1|1|1G|gres/gpu:1|t|/x")
    fake("scontrol", "echo ' OverSubscribe=OK TRES=cpu=1,mem=1G '")
    monkeypatch.setattr("sys.argv", ["admit-jobs"])

    class Ssm:
        def get_parameter(self, *, Name: str) -> dict[str, Any]:
            assert Name == "/cryo/lanes"
            return {"Parameter": {"Value": manifest}}

    monkeypatch.setattr("boto3.client", lambda service, **_: Ssm() if service == "ssm" else Records())
    admit_jobs.main()
    assert [path.name for path in (home / "caps" / "admitted").iterdir()] == ["7"]
