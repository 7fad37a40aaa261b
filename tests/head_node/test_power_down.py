from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cryoem_head import power_down, settings, slurm, slurm_status

BOOT, BUSY = "2026-03-02T10:04:00", "2026-03-02T11:00:00"
EPOCH = f"{BOOT}_{BUSY}"


def node(state: str = "IDLE+CLOUD", *, partitions: tuple[str, ...] = ("gpu4",), reason: str = "") -> slurm.Node:
    return slurm.Node(
        name="n1",
        partitions=list(partitions),
        flags=state.split("+"),
        boot_time=BOOT,
        last_busy=BUSY,
        reason=reason,
    )


def shown(name: str, state: str, partitions: str = "gpu4") -> str:
    return f"NodeName={name} State={state} Partitions={partitions} BootTime={BOOT} LastBusyTime={BUSY}"


def printed(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(capsys.readouterr().out)
    return document


@pytest.mark.parametrize(
    ("found", "epoch", "pending", "reason"),
    [
        (node(), EPOCH, {}, ""),
        (node(), EPOCH, {"gpu4": 0, "cpu": 9}, ""),
        (node(), f"{BOOT}_2026-03-02T11:00:01", {}, "another epoch"),
        (node(), f"2026-03-02T10:04:01_{BUSY}", {}, "another epoch"),
        (node(), "", {}, "another epoch"),
        (node("ALLOCATED+CLOUD"), EPOCH, {}, "busy"),
        (node("IDLE+COMPLETING"), EPOCH, {}, "busy"),
        (node("IDLE+CLOUD+POWERING_UP"), EPOCH, {}, ""),
        (node("MIXED+CLOUD+POWERING_UP"), EPOCH, {}, "busy"),
        (node("IDLE+CLOUD+POWERING_UP"), EPOCH, {"gpu4": 1}, "a job waits"),
        (node("IDLE+CLOUD+POWER_DOWN+POWERING_UP"), EPOCH, {}, "changing"),
        (node("DOWN+CLOUD+NOT_RESPONDING", reason="Not responding"), EPOCH, {}, ""),
        (node("DOWN+CLOUD+NOT_RESPONDING", reason="Not responding"), EPOCH, {"gpu4": 1}, ""),
        (node("DOWN+CLOUD+NOT_RESPONDING", reason="broken fan"), EPOCH, {}, "changing"),
        (node("DOWN+CLOUD+POWERED_DOWN", reason="ResumeTimeout reached"), EPOCH, {}, ""),
        (node("DOWN+CLOUD+POWERED_DOWN", reason="(Code:InsufficientInstanceCapacity)Failure"), EPOCH, {}, "changing"),
        (node("IDLE+CLOUD+POWERED_DOWN"), EPOCH, {}, "changing"),
        (node(), EPOCH, {"gpu4": 1}, "a job waits"),
        (node(partitions=("gpu4", "live")), EPOCH, {"live": 1}, "a job waits"),
    ],
)
def test_a_decision_holds_for_one_epoch_of_an_idle_node(
    found: slurm.Node, epoch: str, pending: dict[str, int], reason: str
) -> None:
    assert power_down.stale(found, epoch, pending) == reason


def test_parse_the_nodes_and_their_epochs() -> None:
    assert power_down.parse(f"a={EPOCH},b=None_None") == {"a": EPOCH, "b": "None_None"}


@pytest.fixture
def cluster(home: Path, fake: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four nodes, of which free and late are idle; the calls of scontrol."""
    monkeypatch.setattr(
        sys, "argv", ["power-down", "--nodes", f"free={EPOCH},late=2026-03-02T09:00:00_None,busy={EPOCH},gone={EPOCH}"]
    )
    fake("squeue", "echo cpu")
    lines = [
        shown("free", "IDLE+CLOUD"),
        shown("late", "IDLE+CLOUD"),
        shown("busy", "MIXED+CLOUD"),
        shown("other", "IDLE+CLOUD"),
    ]
    calls: Path = fake("scontrol", 'case $* in *show*) cat "$0.nodes" ;; esac')
    calls.with_name("scontrol.nodes").write_text("\n".join(lines) + "\n")
    return calls


def updates(calls: Path) -> list[str]:
    return [call for call in calls.read_text().splitlines() if call.startswith("update")]


def test_only_what_is_still_as_it_was_goes(cluster: Path, capsys: pytest.CaptureFixture[str]) -> None:
    power_down.main()
    assert updates(cluster) == ["update nodename=free state=power_down_asap reason=idle"]
    assert printed(capsys) == {"powered_down": ["free"], "left_alone": {"late": "another epoch", "busy": "busy"}}


def test_nothing_goes_when_a_job_has_come_meanwhile(
    cluster: Path, fake: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    fake("squeue", "echo gpu4")
    power_down.main()
    assert updates(cluster) == []
    assert printed(capsys)["left_alone"]["free"] == "a job waits"


def test_a_slurm_that_does_not_answer_is_a_failure(cluster: Path, fake: Any) -> None:
    fake("squeue", "exit 1")
    with pytest.raises(subprocess.CalledProcessError):
        power_down.main()
    assert updates(cluster) == []


@pytest.mark.parametrize(
    "said",
    ["slurm_update error: Invalid user id", "slurm_update error: Access/permission denied", "Operation not permitted"],
)
def test_a_controller_that_lets_nobody_power_down_is_left_to_its_own_idle_time(
    cluster: Path, fake: Any, capsys: pytest.CaptureFixture[str], said: str
) -> None:
    fake("scontrol", f'case $* in *show*) cat "$0.nodes" ;; *) echo "{said}" >&2; exit 1 ;; esac')
    power_down.main()
    told = capsys.readouterr()
    assert json.loads(told.out) == {
        "powered_down": [],
        "left_alone": {"free": "Slurm refuses", "late": "another epoch", "busy": "busy"},
    }
    assert said in told.err


def test_any_other_refusal_is_a_failure(cluster: Path, fake: Any) -> None:
    fake(
        "scontrol",
        'case $* in *show*) cat "$0.nodes" ;; *) echo "Unable to contact slurm controller" >&2; exit 1 ;; esac',
    )
    with pytest.raises(subprocess.CalledProcessError):
        power_down.main()


def test_nodes_must_be_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["power-down"])
    with pytest.raises(SystemExit):
        power_down.main()


def test_slurm_status_shows_what_is_paid_for(cluster: Path, fake: Any, capsys: pytest.CaptureFixture[str]) -> None:
    fake(
        "squeue",
        'case $* in *PENDING*) printf "gpu4|Resources\\ngpu4|Priority\\ngpu4|JobHeldUser\\n" ;; *CONFIGURING*) echo "cpu|None" ;; esac',
    )
    fake("who", "printf 'ada pts/0\\nbob pts/1\\n'")
    lines = [
        shown("up", "IDLE+CLOUD", "live,gpu4"),
        shown("off", "IDLE+CLOUD+POWERED_DOWN"),
        shown("dead", "DOWN+CLOUD") + " NodeAddr=10.0.1.4 Reason=Not responding [slurm@2026-03-02T11:20:00]",
        shown("boots", "IDLE+CLOUD+POWERING_UP"),
        shown("works", "MIXED+CLOUD"),
    ]
    cluster.with_name("scontrol.nodes").write_text("\n".join(lines))
    fake(
        "scontrol",
        'case $* in *nodes*) cat "$0.nodes" ;; *) echo "PartitionName=gpu4 State=UP"; echo "PartitionName=old State=DOWN" ;; esac',
    )
    (settings.load().spool / "1.json").touch()
    slurm_status.main()
    document = printed(capsys)
    assert (document["pending"], document["running"], document["logins"]) == ({"gpu4": 2}, {"cpu": 1}, 2)
    assert (document["powered_up"], document["closed"], document["spool"]) == (4, ["old"], 1)
    assert document["addresses"] == ["", "10.0.1.4", "", ""]
    up, dead, boots = document["nodes"]
    assert up["idle_since"] == slurm.parse_nodes(shown("up", "IDLE"))[0].idle_since
    assert up == {"name": "up", "lane": "live", "state": "idle", "epoch": EPOCH, "idle_since": up["idle_since"]}
    assert (dead["state"], dead["idle_since"] - up["idle_since"]) == ("down", 1200)
    assert (boots["name"], boots["state"]) == ("boots", "booting")


def test_what_slurm_status_prints_is_never_cut() -> None:
    epoch = "2026-03-02T11:00:00_2026-03-02T11:00:00"
    node = {"name": "n" * 58, "lane": "l" * 25, "state": "booting", "epoch": epoch, "idle_since": 1772449200.123456}
    document = {"nodes": [node] * 100, "powered_up": 900, "addresses": ["10.100.200.123"] * 900, "backup": {}}
    text = slurm_status.printed(document)
    assert len(text) <= 24_000
    found = json.loads(text)
    assert (found["nodes"], 0 < len(found["addresses"]) < 900) == (document["nodes"], True)
    few = {**document, "nodes": []}
    assert json.loads(slurm_status.printed(few)) == few


SHOWN = """0      0      10.0.1.5:61000 10.0.9.7:51000
0      0      10.0.1.5:61002 10.0.9.7:51001
0      0      127.0.0.1:61000 127.0.0.1:40000
0      0      10.0.1.5:61000 10.0.1.5:40000
0      0      [::ffff:10.0.1.5]:8443 [::ffff:10.0.9.8]:51002
0      0      10.0.1.5:22 10.0.9.9:51003
"""


def test_people_in_the_browser_and_on_a_remote_desktop_are_somebody(home: Path, fake: Any) -> None:
    fake("ss", f"cat <<'END'\n{SHOWN}END")
    settings.load()
    assert slurm_status.visitors(61000, 8443) == 2
    assert slurm_status.visitors(22) == 1


def test_when_somebody_was_last_here_is_remembered(tmp_path: Path) -> None:
    assert slurm_status.seen_at(tmp_path, somebody=False) == 0
    seen = slurm_status.seen_at(tmp_path, somebody=True)
    assert slurm_status.seen_at(tmp_path, somebody=False) == seen > 0
