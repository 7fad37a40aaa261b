"""The contract with ParallelCluster's custom-resource provider, offline: create, update, delete, poll, reasons, attributes.

What AWS's function between CloudFormation and ParallelCluster's library does is not in ParallelCluster's package, neither the
wheel nor the source archive: it is in a template in AWS's own buckets. pcluster_provider.py says what is driven instead. To
drive the published function too:

    curl -O https://us-east-1-aws-parallelcluster.s3.us-east-1.amazonaws.com/parallelcluster/3.16.1/templates/custom_resource/cluster.yaml
    CRYOEM_PROVIDER_TEMPLATE=cluster.yaml pytest tests/engine/test_provider.py
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import strategies
import systems

from cdk_cryoem_stacks import parallel_cluster_check
from cdk_cryoem_stacks.app import build, make_app
from cdk_cryoem_stacks.config import Config
from cdk_cryoem_stacks.parallel_cluster_check import Judge

pytestmark = pytest.mark.engine

HERE = Path(__file__).parent
PUBLISHED = os.environ.get("CRYOEM_PROVIDER_TEMPLATE")
SYSTEM = Config(name="em")
# What CloudFormation takes of a custom resource's answer, and EventBridge of what it is to say again.
MOST_ANSWERED, MOST_ASKED_AGAIN = 4096, 8192
Json = dict[str, Any]
Answers = dict[str, list[Json]]
POLL: Json = {"poll": True}


def as_text(value: Any) -> Any:
    """As CloudFormation sends it."""
    if isinstance(value, dict):
        return {key: as_text(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [as_text(inner) for inner in value]
    return str(value).lower() if isinstance(value, bool) else str(value)


@pytest.fixture(scope="module")
def synthesised(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Json]:
    """Templates of the system, by stack."""
    app = make_app(outdir=str(tmp_path_factory.mktemp("system")))
    build(app, SYSTEM, config_folder=HERE)
    return {stack.stack_name: stack.template for stack in app.synth().stacks}


@pytest.fixture(scope="module")
def properties(synthesised: dict[str, Json]) -> Json:
    """Those of the custom resource, with ids where it has references."""
    (resource,) = [
        resource
        for resource in synthesised["em-cluster"]["Resources"].values()
        if resource["Type"] == "Custom::PclusterCluster"
    ]
    found = dict(resource["Properties"])
    found["ServiceToken"] = "arn:aws:lambda:us-east-1:123456789012:function:pcluster-cfn"
    found["ClusterConfiguration"] = strategies.configuration_of(SYSTEM)
    sent: Json = as_text(found)
    return sent


def request(kind: str, properties: Json, **configured: Any) -> Json:
    changed = {**properties, "ClusterConfiguration": {**properties["ClusterConfiguration"], **configured}}
    physical = {} if kind == "Create" else {"PhysicalResourceId": "em"}
    return {"request": {"RequestType": kind, "ResourceProperties": changed, **physical}}


def with_lanes(properties: Json, change: str, to: str) -> Json:
    """A request to update that changes every lane's compute resource."""
    scheduling = json.loads(json.dumps(properties["ClusterConfiguration"]["Scheduling"]))
    for queue in scheduling["SlurmQueues"]:
        queue["ComputeResources"][0][change] = to
    return request("Update", properties, Scheduling=scheduling)


def scenarios(properties: Json) -> dict[str, list[Json]]:
    create, delete = request("Create", properties), request("Delete", properties)
    made = [create, {"stack": "CREATE_COMPLETE"}, POLL]
    head_node = {**properties["ClusterConfiguration"]["HeadNode"], "InstanceType": "m7i.2xlarge"}
    everything = as_text(strategies.configuration_of(systems.everything()))
    return {
        "create": [create, POLL, {"stack": "CREATE_COMPLETE"}, POLL],
        "create everything": [
            request("Create", {**properties, "ClusterConfiguration": everything}), {"stack": "CREATE_COMPLETE"}, POLL,
        ],
        "create fails": [create, {"stack": "CREATE_FAILED"}, POLL],
        "create what is wrong": [request("Create", properties, Image={"Os": "alinux2"})],
        "unknown property": [request("Create", {**properties, "ServiceTimeout": "3600"})],
        "name of one letter": [request("Create", {**properties, "ClusterName": "a"})],
        "another name": [*made, request("Update", {**properties, "ClusterName": "other"})],
        "no change": [*made, request("Update", properties), POLL],
        "more nodes": [*made, with_lanes(properties, "MaxCount", "20"), POLL, {"stack": "UPDATE_COMPLETE"}, POLL],
        "update fails": [*made, with_lanes(properties, "MaxCount", "20"), {"stack": "UPDATE_FAILED"}, POLL],
        "another head node": [*made, request("Update", properties, HeadNode=head_node)],
        "delete": [*made, delete, POLL, {"stack": "DELETE_COMPLETE"}, POLL],
        "delete what is not there": [delete, POLL],
    }  # fmt: skip


@pytest.fixture(scope="module", params=["double", *(["published"] if PUBLISHED else [])])
def answers(request: pytest.FixtureRequest, judge: Judge, properties: Json) -> Answers:
    """What every scenario came to, step by step."""
    check = Path(str(parallel_cluster_check.__file__)).with_name("check.py")
    template = [str(PUBLISHED)] if request.param == "published" else []
    ran = subprocess.run(
        [str(judge.python), str(HERE / "pcluster_provider.py"), str(check), *template],
        input=json.dumps({"region": SYSTEM.region, "scenarios": scenarios(properties)}),
        capture_output=True, text=True, timeout=600, check=False,
        env={key: value for key, value in os.environ.items() if not key.startswith("AWS_")},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-3000:]
    found: Answers = json.loads(ran.stdout)
    return found


def told(step: Json, status: str) -> Json:
    """What CloudFormation was told."""
    assert step["sent"] is not None, "it was told nothing"
    assert step["sent"]["Status"] == status, step["sent"]["Reason"]
    sent: Json = step["sent"]
    return sent


def reason(step: Json) -> str:
    return str(told(step, "FAILED")["Reason"])


def test_we_send_what_the_provider_takes_and_nothing_else(properties: Json) -> None:
    assert set(properties) == {"ServiceToken", "ClusterName", "ClusterConfiguration", "DeletionPolicy"}


def test_a_cluster_is_made_of_what_we_send(answers: Answers) -> None:
    started, waited, _, done = answers["create"]
    for step in (started, waited):
        assert (step["sent"], step["waits"]) == (None, True), "CloudFormation waits until there is something to say"
        assert step["stacks"]["em"]["status"] == "CREATE_IN_PROGRESS"
    assert told(done, "SUCCESS")["PhysicalResourceId"] == "em"


def test_it_gets_the_tags_of_the_configuration_and_of_the_stack_each_once(answers: Answers) -> None:
    tags = answers["create"][0]["stacks"]["em"]["tags"]
    assert tags["cryoem:cluster"] == tags["cryoem:system"] == "em"
    assert tags["from-the-stack"] == "yes"
    assert tags["parallelcluster:version"] == parallel_cluster_check.PARALLEL_CLUSTER_VERSION


def attributes_used(value: Any, of: str) -> Iterator[str]:
    if isinstance(value, dict):
        found = value.get("Fn::GetAtt")
        if isinstance(found, list) and found[0] == of:
            yield found[1]
        for inner in value.values():
            yield from attributes_used(inner, of)
    elif isinstance(value, list):
        for inner in value:
            yield from attributes_used(inner, of)


@pytest.mark.parametrize(
    ("scenario", "step"), [("create", -1), ("create everything", -1), ("more nodes", -1), ("no change", -1)]
)
def test_every_attribute_that_we_use_is_in_the_answer(
    answers: Answers, synthesised: dict[str, Json], scenario: str, step: int
) -> None:
    template = synthesised["em-cluster"]
    (cluster,) = [name for name, of in template["Resources"].items() if of["Type"] == "Custom::PclusterCluster"]
    used = set(attributes_used(template, cluster))
    data = told(answers[scenario][step], "SUCCESS")["Data"]
    assert used == {"headNode.instanceId"}
    assert used <= set(data)
    assert data["headNode.instanceId"].startswith("i-")


def test_no_answer_is_longer_than_cloudformation_takes_and_no_question_than_eventbridge(answers: Answers) -> None:
    for scenario, steps in answers.items():
        assert max(step["bytes"] for step in steps) < MOST_ANSWERED, scenario
        assert max(step["event_bytes"] for step in steps if step["waits"] or step["sent"]) < MOST_ASKED_AGAIN, scenario


def test_a_cluster_that_cannot_be_made_says_so(answers: Answers) -> None:
    assert "em: ClusterCreationFailure" in reason(answers["create fails"][-1])


def test_a_wrong_configuration_is_told_in_parallelclusters_words_before_a_stack_is_made(answers: Answers) -> None:
    (only,) = answers["create what is wrong"]
    assert "Must be one of: alinux2023, ubuntu2204" in reason(only)
    assert len(reason(only)) <= 260, "the helper keeps the end of a reason"
    assert only["stacks"] == {}


def test_any_other_property_breaks_it(answers: Answers) -> None:
    (only,) = answers["unknown property"]
    assert reason(only) == "<create-cluster> got unexpected arguments: {'service_timeout'}"
    assert only["stacks"] == {}


def test_a_name_of_one_letter_is_refused_which_no_validator_of_a_configuration_says(answers: Answers) -> None:
    assert "'a' does not match '^[a-zA-Z][a-zA-Z0-9-]+$'" in reason(answers["name of one letter"][0])


def test_a_cluster_cannot_get_another_name(answers: Answers) -> None:
    assert reason(answers["another name"][-1]) == "Cannot update the ClusterName in the properties."
    assert set(answers["another name"][-1]["stacks"]) == {"em"}


def test_a_deployment_that_changes_nothing_of_the_cluster_succeeds(answers: Answers) -> None:
    *_, asked, looked = answers["no change"]
    assert asked["waits"]
    assert told(looked, "SUCCESS")["PhysicalResourceId"] == "em"
    assert looked["stacks"]["em"]["status"] == "CREATE_COMPLETE", "the cluster's stack was not touched"


def test_a_changed_lane_is_an_update_of_the_clusters_stack(answers: Answers) -> None:
    *_, asked, looked, _, done = answers["more nodes"]
    assert asked["stacks"]["em"]["status"] == looked["stacks"]["em"]["status"] == "UPDATE_IN_PROGRESS"
    assert looked["waits"]
    assert told(done, "SUCCESS")["PhysicalResourceId"] == "em"


def test_an_update_that_fails_says_so(answers: Answers) -> None:
    assert reason(answers["update fails"][-1]).startswith("em: ")


def test_an_update_that_needs_another_cluster_is_refused_before_anything_happens(answers: Answers) -> None:
    last = answers["another head node"][-1]
    assert "please consider creating a new cluster" in reason(last)
    assert '"current_value": "m7i.xlarge"' in reason(last)
    assert last["stacks"]["em"]["status"] == "CREATE_COMPLETE"


def test_a_deleted_cluster_is_waited_for_until_its_stack_is_gone(answers: Answers) -> None:
    *_, asked, looked, _, done = answers["delete"]
    assert asked["waits"]
    assert looked["waits"]
    assert looked["stacks"]["em"]["status"] == "DELETE_IN_PROGRESS"
    assert told(done, "SUCCESS")["PhysicalResourceId"] == "em"


def test_a_cluster_that_was_never_made_is_deleted(answers: Answers) -> None:
    """Else a failed creation could not be rolled back."""
    assert told(answers["delete what is not there"][-1], "SUCCESS")["PhysicalResourceId"] == "em"
