from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import pytest
from fakes import Aws, CommandError, batch, failed

from cdk_cryoem_lambda import lane_hook
from cdk_cryoem_lambda.world import world

HINT = {"detail-type": "EC2 Instance State-change Notification"}


class Head:
    """What register-lanes and start-processing do on a head node."""

    def __init__(self, aws: Aws) -> None:
        self.lanes: dict[str, str] = {}
        self.wanted = {"cpu": "1", "gpu4": "2"}
        self.kept: list[str] = []
        self.closed: list[str] = []
        self.started: list[str] = []
        self.not_imported_yet: set[str] = set()
        self.states: dict[str, str] = {}
        self.reasons: dict[str, str] = {}
        aws.ssm.documents = {"register-lanes": self.register_lanes, "start-processing": self.start_processing}
        self._manifest = hashlib.sha256(aws.ssm.parameters["/cryo/lanes"].encode()).hexdigest()

    def register_lanes(self, parameters: Mapping[str, str]) -> dict[str, Any]:
        assert parameters["ManifestSha256"] == self._manifest
        changes = {}
        if parameters["Mode"] == "converge":
            changes = {
                "set": sorted(name for name, digest in self.wanted.items() if self.lanes.get(name) != digest),
                "removed": sorted(self.lanes.keys() - self.wanted.keys() - set(self.kept)),
            }
            self.lanes = dict(self.wanted)
        has = {name: digest for name, digest in self.lanes.items() if name not in self.kept}
        return {
            "registered": has, "wanted": self.wanted, "changes": changes, "kept": self.kept, "closed": self.closed,
        }  # fmt: skip

    def start_processing(self, parameters: Mapping[str, str]) -> dict[str, Any]:
        if parameters["Dataset"] in self.not_imported_yet:
            raise CommandError("is not there yet")
        assert (parameters["Recipe"], parameters["Objects"]) == ("relion", "7")
        name = parameters["Dataset"]
        state = self.states.get(name) or ("finished" if name in self.started else "started")
        if state == "started":
            self.started.append(name)
        return {"state": state, "log": "l", "reason": self.reasons.get(name, "")}


@pytest.fixture
def head(aws: Aws) -> Head:
    return Head(aws)


def hook() -> list[str]:
    return failed(lane_hook.handler(batch(HINT, HINT), None))


def modes(aws: Aws) -> list[str]:
    return [parameters["Mode"] for document, parameters in aws.ssm.sent if document == "register-lanes"]


def dataset(aws: Aws, name: str, state: str = "landed", **more: Any) -> None:
    texts = {"pk": "dataset", "sk": name, "state": state}
    aws.dynamodb.items["dataset", name] = (
        {key: {"S": value} for key, value in texts.items()} | {"objects": {"N": "7"}} | more
    )


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch, head: Head) -> Head:
    monkeypatch.setenv("RECIPE", "relion")
    head.lanes = dict(head.wanted)
    return head


@pytest.mark.parametrize("state", ["stopped", "stopping", "pending", "gone"])
def test_nothing_is_asked_of_a_head_node_that_sleeps(aws: Aws, recipe: Head, state: str) -> None:
    dataset(aws, "d")
    aws.ec2.state = state
    assert hook() == []
    assert (aws.ssm.sent, aws.dynamodb.writes, aws.ec2.calls) == ([], 0, [])


def test_lanes_that_differ_are_converged_once(aws: Aws, head: Head) -> None:
    head.lanes = {"old": "0", "cpu": "0"}
    assert hook() == []
    assert head.lanes == head.wanted
    assert modes(aws) == ["show", "converge"]
    assert aws.record("lanes", "registered")["lanes"] == [{"S": "cpu"}, {"S": "gpu4"}]


def test_acting_twice_changes_nothing(aws: Aws, head: Head) -> None:
    hook()
    before, said = dict(aws.dynamodb.items), list(aws.events.taken)
    aws.clock.now += 100
    hook()
    assert modes(aws) == ["show", "converge", "show"]
    assert (aws.dynamodb.items, aws.events.taken) == (before, said)


def changes(aws: Aws) -> list[dict[str, list[str]]]:
    """What was said of lanes, without what is empty."""
    parts = ("lanes", "set", "removed", "kept", "closed")
    return [{part: told[part] for part in parts if told[part]} for told in aws.said("Lanes Changed")]


def test_what_was_done_to_lanes_is_said(aws: Aws, head: Head) -> None:
    head.lanes = {"old": "0", "cpu": "1", "gpu4": "0"}
    hook()
    assert changes(aws) == [{"lanes": ["cpu", "gpu4"], "set": ["gpu4"], "removed": ["old"]}]
    assert aws.said("Lanes Changed")[0]["manifest"] == aws.record("lanes", "registered")["manifest"]


def test_a_lane_that_was_set_again_is_said_although_the_lanes_are_the_same(aws: Aws, head: Head) -> None:
    head.lanes = dict(head.wanted)
    hook()
    head.lanes["gpu4"] = "0"
    hook()
    assert changes(aws) == [{"lanes": ["cpu", "gpu4"]}, {"lanes": ["cpu", "gpu4"], "set": ["gpu4"]}]


def test_lanes_that_jobs_keep_and_partitions_that_are_down_are_said_as_such(aws: Aws, head: Head) -> None:
    head.lanes = dict(head.wanted)
    hook()
    head.kept, head.closed = ["old"], ["gpu4"]
    hook()
    hook()
    head.kept = []
    hook()
    lanes = {"lanes": ["cpu", "gpu4"]}
    assert changes(aws) == [
        lanes, lanes | {"kept": ["old"], "closed": ["gpu4"]}, lanes | {"closed": ["gpu4"]},
    ]  # fmt: skip
    assert aws.record("lanes", "registered")["closed"] == [{"S": "gpu4"}]


def test_a_head_node_with_older_programs_says_nothing_of_what_is_kept(aws: Aws, head: Head) -> None:
    shown = {"registered": {"cpu": "1"}, "wanted": {"cpu": "1"}, "changes": {}}
    aws.ssm.documents["register-lanes"] = lambda parameters: shown
    assert hook() == []
    assert changes(aws) == [{"lanes": ["cpu"]}]


def test_lanes_of_another_manifest_that_are_the_same_are_noted_and_not_said(aws: Aws, head: Head) -> None:
    head.lanes = dict(head.wanted)
    hook()
    aws.ssm.parameters["/cryo/lanes"] += "\n"
    changed = Head(aws)
    changed.lanes = dict(changed.wanted)
    hook()
    assert len(changes(aws)) == 1
    assert aws.record("lanes", "registered")["manifest"] == world().manifest()[0]


def test_when_the_bus_is_closed_lanes_are_converged_and_said_later(aws: Aws, head: Head) -> None:
    aws.events.refusing = True
    assert hook() == ["m0", "m1"]
    assert (head.lanes, aws.waiting()) == (head.wanted, ["Lanes Changed"])
    aws.events.refusing = False
    assert hook() == []
    assert changes(aws) == [{"lanes": ["cpu", "gpu4"], "set": ["cpu", "gpu4"]}]


def test_a_lane_that_is_lost_comes_back(aws: Aws, head: Head) -> None:
    hook()
    del head.lanes["gpu4"]
    hook()
    assert head.lanes == head.wanted


def test_the_manifest_as_it_is_now_is_what_counts(aws: Aws, head: Head) -> None:
    text = json.dumps({"version": 1, "cluster": "cryo", "lanes": []})
    aws.ssm.parameters["/cryo/lanes"] = text
    aws.ssm.documents = {"register-lanes": Head(aws).register_lanes}
    assert hook() == []
    assert aws.record("lanes", "registered")["manifest"] == hashlib.sha256(text.encode()).hexdigest()


def test_a_head_node_that_refuses_is_asked_again(aws: Aws, head: Head) -> None:
    def refuse(parameters: Mapping[str, str]) -> dict[str, Any]:
        raise CommandError("the manifest is another by now: look again")

    aws.ssm.documents["register-lanes"] = refuse
    assert hook() == ["m0", "m1"]
    assert aws.dynamodb.items == {}


def test_the_recipe_is_started_once(aws: Aws, recipe: Head) -> None:
    dataset(aws, "d")
    dataset(aws, "young", "arriving")
    hook()
    assert "processing_at" not in aws.record("dataset", "d"), "it runs, and may still die"
    hook()
    assert aws.record("dataset", "d")["processing_at"] == aws.clock.now
    asked = len(aws.ssm.sent)
    hook()
    assert recipe.started == ["d"]
    assert [document for document, _ in aws.ssm.sent[asked:]] == ["register-lanes"]


def test_a_recipe_that_died_with_the_head_node_is_asked_for_again(aws: Aws, recipe: Head) -> None:
    dataset(aws, "d")
    recipe.states["d"] = "started"
    hook()
    hook()
    assert recipe.started == ["d", "d"]


@pytest.mark.parametrize("state", ["finished", "failed", "refused"])
def test_how_a_recipe_ended_is_said_once(aws: Aws, recipe: Head, state: str) -> None:
    dataset(aws, "d")
    recipe.states["d"], recipe.reasons["d"] = state, "no movies"
    assert hook() == []
    assert hook() == []
    assert aws.record("dataset", "d")["processing"] == state
    assert aws.said("Processing Ended") == [
        {"version": 1, "cluster": "cryo", "dataset": "d", "recipe": "relion", "state": state, "reason": "no movies"}
    ]


def test_without_a_recipe_nothing_is_started(aws: Aws, head: Head) -> None:
    head.lanes = dict(head.wanted)
    dataset(aws, "d")
    hook()
    assert aws.ssm.verbs() == ["register-lanes"]
    assert "processing_at" not in aws.record("dataset", "d")


@pytest.mark.parametrize(
    "name", ["a b", "a;reboot", "$(reboot)", "../etc", "-rf", ".hidden", "a'b", "a\n", "ä", "a" * 101, "{{ x }}"]
)
def test_weird_names_never_reach_a_command(aws: Aws, recipe: Head, name: str) -> None:
    dataset(aws, name)
    dataset(aws, "good-1.2_x")
    assert hook() == []
    assert recipe.started == ["good-1.2_x"]
    assert all(name not in parameters.values() for _, parameters in aws.ssm.sent)
    assert "processing_at" in aws.record("dataset", name)
    assert [(told["dataset"], told["state"]) for told in aws.said("Processing Ended")] == [(name, "refused")]


def test_a_dataset_that_cannot_be_started_yet_does_not_hold_up_the_others(aws: Aws, recipe: Head) -> None:
    recipe.not_imported_yet = {"a"}
    dataset(aws, "a")
    dataset(aws, "b")
    assert hook() == ["m0", "m1"]
    assert recipe.started == ["b"]
    recipe.not_imported_yet = set()
    assert hook() == []
    assert recipe.started == ["b", "a"]


def test_a_head_node_that_stops_meanwhile_leaves_the_rest_for_later(aws: Aws, recipe: Head) -> None:
    dataset(aws, "a")
    dataset(aws, "b")
    start = recipe.start_processing

    def start_and_stop(parameters: Mapping[str, str]) -> dict[str, Any]:
        aws.ec2.state = "stopping"
        return start(parameters)

    aws.ssm.documents["start-processing"] = start_and_stop
    assert hook() == ["m0", "m1"]
    assert recipe.started == ["a"]
    aws.ssm.documents["start-processing"] = start
    assert hook() == []
    assert hook() == []
    assert (recipe.started, aws.ec2.calls) == (["a"], [])
    aws.ec2.state = "running"
    hook()
    assert recipe.started == ["a", "b"]


def test_the_fingerprint_is_that_of_the_parameters_text(aws: Aws) -> None:
    fingerprint, lanes = world().manifest()
    assert fingerprint == hashlib.sha256(aws.ssm.parameters["/cryo/lanes"].encode()).hexdigest()
    assert [lane.name for lane in lanes] == ["cpu", "gpu4", "live"]


def test_a_lane_whose_last_job_ended_while_the_others_were_set_is_none_of_the_manifest(aws: Aws, head: Head) -> None:
    """It was kept for its job, and is neither wanted nor kept any longer when the head node answers."""
    left_over = {
        "registered": {**head.wanted, "old": ""},
        "wanted": head.wanted,
        "changes": {"set": ["cpu"], "removed": []},
    }
    aws.ssm.documents["register-lanes"] = lambda parameters: left_over
    assert hook() == []
    (told,) = aws.said("Lanes Changed")
    assert told["lanes"] == sorted(head.wanted)
