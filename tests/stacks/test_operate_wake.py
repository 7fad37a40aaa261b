"""`cryoem wake` and `cryoem sleep`: what is written, what is said, when it gives up."""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from operate_account import REGION, SWEEPER, TABLE, Deployed, at_hand, run

from cdk_cryoem_stacks.operate import wake
from cdk_cryoem_stacks.operate.ask import Failed
from cdk_cryoem_stacks.operate.records import Records
from cdk_cryoem_stacks.operate.wake import Request, Seen, keepers, step, watch

CALLED = (SWEEPER, "Event")


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Deployed]:
    """A system that is deployed, credentials for it, and its file."""
    with at_hand(monkeypatch, tmp_path) as system:
        yield system


# --- wake ---------------------------------------------------------------------------------------------------------------


def test_wake_writes_the_request_and_calls_the_sweeper(system: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    before = int(time.time())
    assert run("wake") == 0
    item = system.get("request", "wake")
    assert item is not None
    assert item == {"pk": "request", "sk": "wake", "by": "user/moto", "at": item["at"], "until": item["at"] + 7200}
    assert before <= item["at"] <= time.time()
    assert system.calls == [CALLED]
    out = capsys.readouterr().out
    assert "awake until" in out
    assert f"aws ssm start-session --target {system.head_node} --region {REGION}" in out


@pytest.mark.parametrize(("hours", "right"), [("0.25", True), ("0.24", False), ("72", True), ("72.1", False)])
def test_hours(system: Deployed, hours: str, right: bool, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("wake", "--hours", hours) == (0 if right else 2)
    if not right:
        assert f"got {hours}, allowed: 0.25 to 72" in capsys.readouterr().err
        assert system.items() == []
        assert system.calls == []


@pytest.mark.parametrize("hours", ["nan", "inf", "-1", "two"])
def test_hours_that_are_no_number_of_hours(system: Deployed, hours: str) -> None:
    assert run("wake", f"--hours={hours}") == 2


def test_an_earlier_request_is_not_shortened_and_the_sweeper_is_called_all_the_same(
    system: Deployed, capsys: pytest.CaptureFixture[str]
) -> None:
    later = int(time.time()) + 8 * 3600
    system.put("request", "wake", until=later, by="user/anna", at=later - 9 * 3600)
    assert run("wake", "--hours", "2") == 0
    item = system.get("request", "wake")
    assert item is not None
    assert (item["until"], item["by"]) == (later, "user/anna")
    assert "asked by user/anna" in capsys.readouterr().out
    assert system.calls == [CALLED]


def test_a_shorter_one_or_one_that_is_over_is_replaced(system: Deployed) -> None:
    system.put("request", "wake", until=1000, by="user/anna", at=900)
    assert run("wake") == 0
    item = system.get("request", "wake")
    assert item is not None
    assert item["by"] == "user/moto"


def test_a_dry_run_writes_nothing(system: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("wake", "--dry-run") == 0
    out = capsys.readouterr().out
    assert f'would write to {TABLE}: {{"pk": "request", "sk": "wake", "until": ' in out
    assert f"would call {SWEEPER}; the head node is running" in out
    system.put("request", "wake", until=int(time.time()) + 9000, by="user/anna", at=1)
    assert run("wake", "--dry-run") == 0
    assert "nothing would be written: awake until" in capsys.readouterr().out
    assert [item["by"] for item in system.items()] == ["user/anna"]
    assert system.calls == []


def test_the_request_stands_when_the_sweeper_cannot_be_called(
    system: Deployed, capsys: pytest.CaptureFixture[str]
) -> None:
    system.refuse_call = True
    assert run("wake") == 0
    assert system.get("request", "wake") is not None
    error = capsys.readouterr().err
    assert "may not lambda:InvokeFunction" in error
    assert "docs/iam.md, 'Operators'" in error
    assert "within five minutes" in error


def test_wait_follows_the_head_node_until_its_agent_calls(
    system: Deployed, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    system.state("stopping", 64)
    # For minutes after a stop Systems Manager still calls it online.
    system.pings = time.time() - 60
    swept: list[bool] = []

    def passes(seconds: float) -> None:
        described = system.clients.ec2.describe_instances(InstanceIds=[system.head_node])
        state = described["Reservations"][0]["Instances"][0]["State"]["Name"]
        if state == "stopping":
            system.state("stopped", 80)
            swept.clear()
        elif state == "stopped" and swept:
            system.state("pending", 0)
        elif state == "pending":
            system.state("running", 16)
        elif state == "running":
            system.pings = time.time() + 5

    system.on_call = lambda: swept.append(True)
    monkeypatch.setattr(wake.watch, "__kwdefaults__", {**(wake.watch.__kwdefaults__ or {}), "pause": passes})
    assert run("wake", "--wait") == 0
    said = [line.partition(" s  ")[2] for line in capsys.readouterr().out.splitlines() if " s  " in line]
    assert said == [
        "it is stopping just now, which takes about a minute; it can be started after that",
        "it is stopped; the sweeper starts it",
        "it boots",
        "it runs; its agent has not called yet",
        "it runs, and Session Manager reaches it",
    ]
    assert system.calls == [CALLED, CALLED], "once at first, once when it could be started"


def test_wait_gives_up_when_there_is_no_head_node(system: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    system.clients.ec2.terminate_instances(InstanceIds=[system.head_node])
    assert run("wake", "--wait") == 1
    assert "there is no head node any more" in capsys.readouterr().err
    assert system.get("request", "wake") is not None


def test_an_instance_that_ec2_has_forgotten_is_gone(system: Deployed) -> None:
    assert wake.look(system.clients, "i-0123456789abcdef0") == Seen(state="gone")


# --- what follows from looks: pure --------------------------------------------------------------------------------------

STATES = st.sampled_from(["stopped", "stopping", "pending", "running"])
LOOKS = st.lists(st.builds(Seen, state=STATES, online=st.just(False)), min_size=1, max_size=12)


@given(looks=LOOKS)
def test_whatever_is_seen_something_is_said_once_for_each_change_and_it_ends_when_it_is_online(
    looks: list[Seen],
) -> None:
    looks = [*looks, Seen(state="running", online=True)]
    said: list[str] = []
    hints: list[int] = []
    left = iter(looks)
    watch(
        lambda: next(left),
        hint=lambda: hints.append(1),
        say=said.append,
        seconds=60,
        clock=lambda: 0,
        pause=lambda s: None,
    )
    changes = 1 + sum(a != b for a, b in itertools.pairwise(looks))
    assert len(said) == changes
    assert len(hints) == sum((a.state, b.state) == ("stopping", "stopped") for a, b in itertools.pairwise(looks))
    assert next(left, None) is None


@pytest.mark.parametrize("state", wake.GONE)
def test_what_is_gone_is_never_waited_for(state: str) -> None:
    with pytest.raises(Failed, match="no head node any more"):
        step(None, Seen(state=state))


@pytest.mark.parametrize(
    ("state", "says"), [("running", "Session Manager does not reach it"), ("stopped", "is stopped. The request stands")]
)
def test_it_says_where_it_is_stuck(state: str, says: str) -> None:
    with pytest.raises(Failed, match=says):
        watch(
            lambda: Seen(state=state),
            hint=lambda: None,
            say=lambda text: None,
            seconds=0,
            clock=lambda: 0,
            pause=lambda seconds: None,
        )


@pytest.mark.parametrize(("passed", "over"), [(59.0, False), (60.0, True)])
def test_it_gives_up_in_time(passed: float, over: bool) -> None:
    times = iter([0.0, passed, 60.0])
    pauses: list[float] = []
    with pytest.raises(Failed, match="after 1 min the head node is stopped"):
        watch(
            lambda: Seen(state="stopped"),
            hint=lambda: None,
            say=lambda text: None,
            seconds=60,
            clock=lambda: next(times),
            pause=pauses.append,
        )
    assert len(pauses) == (0 if over else 1)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(steps=st.lists(st.one_of(st.integers(0, 9), st.none()), max_size=8))
def test_whatever_is_asked_and_withdrawn_the_longest_since_the_last_withdrawal_holds(
    system: Deployed, steps: list[int | None]
) -> None:
    records = Records(system.clients, TABLE)
    records.delete(wake.KIND, wake.NAME)
    longest: int | None = None
    for until in steps:
        if until is None:
            there = records.delete(wake.KIND, wake.NAME)
            assert (there["until"] if there else None) == longest
            longest = None
            continue
        longest = until if longest is None else max(longest, until)
        assert wake.write(records, Request(until=until, by="user/moto", at=1)).until == longest
    standing = wake.standing(records)
    assert (standing.until if standing else None) == longest


# --- sleep --------------------------------------------------------------------------------------------------------------


def test_sleep_withdraws_and_says_what_keeps_it_awake(system: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    now = int(time.time())
    system.put("request", "wake", until=now + 100, by="user/anna", at=now)
    system.put("dataset", "d1", state="arriving", last_at=now - 3600.0)
    system.put("job", f"{now - 600:012d}#17", state="COMPLETED")
    assert run("sleep") == 0
    assert system.get("request", "wake") is None
    assert system.calls == [CALLED]
    out = capsys.readouterr().out
    assert "asked by user/anna" in out
    assert "keeps it awake: still arriving: d1; `cryoem land DATASET`" in out
    assert "keeps it awake: the last job ended 10 min ago; it stops no sooner than 30 min after that" in out


def test_sleep_without_a_request(system: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("sleep") == 0
    assert "there was no request" in capsys.readouterr().out
    assert run("sleep", "--dry-run") == 0
    assert "nothing would be withdrawn" in capsys.readouterr().out


def test_a_dry_run_of_sleep_withdraws_nothing(system: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    system.put("request", "wake", until=100, by="user/anna", at=1)
    assert run("sleep", "--dry-run") == 0
    assert "would withdraw: awake until" in capsys.readouterr().out
    assert system.get("request", "wake") is not None
    assert system.calls == []


@pytest.mark.parametrize(
    ("after", "quiet", "kept"), [(30, 1799, True), (30, 1800, False), (0, 99999, True), (None, 1, False)]
)
def test_what_keeps_it_awake(after: int | None, quiet: int, kept: bool) -> None:
    job = {"sk": f"{100_000 - quiet:012d}#1"}
    assert bool(keepers([], job, stop_after_minutes=after, recipe="", now=100_000)) == kept


def test_the_last_movie_keeps_it_awake_too() -> None:
    landed = {"sk": "d", "state": "landed", "last_at": 99_000.0}
    assert keepers([landed], {"sk": "000000098000#1"}, stop_after_minutes=30, recipe="", now=100_000) == [
        "the last movie came 16 min ago; it stops no sooner than 30 min after that"
    ]
    assert keepers([], None, stop_after_minutes=30, recipe="", now=100_000) == []


def test_a_dataset_that_waits_for_its_recipe_keeps_it_awake() -> None:
    waits, done = {"sk": "d", "state": "landed"}, {"sk": "e", "state": "landed", "processing_at": 5.0}
    assert keepers([waits, done], None, stop_after_minutes=30, recipe="relion", now=1e6) == [
        "waiting for the recipe relion: d"
    ]
    assert keepers([waits, done], None, stop_after_minutes=30, recipe="", now=1e6) == []


# --- which system -------------------------------------------------------------------------------------------------------


def test_no_such_stack(system: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    Path("cryoem.yaml").write_text("name: other\naccount: '999999999999'\n")
    assert run("wake") == 1
    error = capsys.readouterr().err
    assert "there is no stack other-hooks in us-east-1 of account 123456789012" in error
    assert "the file is for account 999999999999" in error
    assert "tools/cdk deploy --all" in error


def test_a_stack_of_an_earlier_version(system: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    system.stack("old-hooks", RecordsTable=TABLE)
    assert run("status", "--name", "old", "--region", REGION) == 1
    error = capsys.readouterr().err
    assert "is CREATE_COMPLETE and has no output Sweeper, HeadNode" in error
    assert "tools/cdk deploy old-hooks" in error


def test_another_account_than_the_files(system: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    Path("cryoem.yaml").write_text("name: cryoem\naccount: '999999999999'\n")
    assert run("wake") == 1
    assert "are of account 123456789012, the file is for 999999999999" in capsys.readouterr().err
    assert system.items() == []


def test_a_wrong_file(system: Deployed, capsys: pytest.CaptureFixture[str]) -> None:
    Path("cryoem.yaml").write_text("name: cryoem\nregoin: x\n")
    assert run("wake") == 2
    assert "cryoem.yaml:2" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--name", "cryoem"], "--name wants --region"),
        (["--name", "cryoem", "--region", REGION, "--config", "cryoem.yaml"], "exclude each other"),
        (["--region", REGION], "--region is for --name"),
    ],
)
def test_which_system_must_be_clear(
    system: Deployed, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("wake", *arguments) == 2
    assert says in capsys.readouterr().err
    assert system.items() == []


@pytest.mark.parametrize("variable", ["AWS_REGION", "AWS_DEFAULT_REGION"])
def test_a_name_and_the_region_of_the_environment_are_enough(
    system: Deployed, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    Path("cryoem.yaml").unlink()
    monkeypatch.setenv(variable, REGION)
    assert run("wake", "--name", "cryoem") == 0
    assert system.calls == [CALLED]


def test_without_credentials(
    system: Deployed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "none")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "none")
    assert run("wake") == 1
    assert "no credentials" in capsys.readouterr().err
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    assert run("wake") == 1
    assert "nobody" in capsys.readouterr().err


def test_ctrl_c_says_that_the_request_stands(
    system: Deployed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(wake, "watch", interrupted)
    assert run("wake", "--wait") == 1
    assert "what was written stands" in capsys.readouterr().err
    assert system.get("request", "wake") is not None


@pytest.mark.parametrize("command", ["wake", "sleep", "land", "reopen", "status"])
def test_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command, "--help") == 0
    assert "Exit status: 0 done; 1 failed; 2 the input is wrong." in capsys.readouterr().out


def test_the_record_is_what_the_hooks_read() -> None:
    """The attributes' names and kinds, as they are agreed."""
    assert json.loads(json.dumps(Request(until=7, by="user/anna", at=5).item())) == {
        "pk": "request",
        "sk": "wake",
        "until": 7,
        "by": "user/anna",
        "at": 5,
    }
