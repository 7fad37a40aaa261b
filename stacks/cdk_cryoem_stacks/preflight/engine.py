"""ParallelCluster's own judgement of the configuration that the templates hold for it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..parallel_cluster_check import PARALLEL_CLUSTER_VERSION, Judge, Unavailable, prepare
from .check import Check, error, ok, warning

NAME = "engine"
_RESOURCE = "Custom::PclusterCluster"
_ACCOUNT = "111122223333"
_PSEUDO = {"AWS::Partition": "aws", "AWS::AccountId": _ACCOUNT, "AWS::URLSuffix": "amazonaws.com"}
# What a reference becomes, by the end of the key that holds it: anything of the right form will do.
_FORMS: Mapping[str, str] = {
    "SubnetId": "subnet-{}",
    "SubnetIds": "subnet-{}",
    "SecurityGroups": "sg-{}",
    "SecurityGroupIds": "sg-{}",
    "FileSystemId": "fs-{}",
    "Policy": f"arn:aws:iam::{_ACCOUNT}:policy/parallelcluster-{{}}",
    "PermissionsBoundary": f"arn:aws:iam::{_ACCOUNT}:policy/{{}}",
}
# Warnings of what is meant so: why, by validator.
MEANT = {
    "KeyPairValidator": "people reach the head node by Session Manager, not by a key pair",
    "InstancesMemorySchedulingWarningValidator": "a lane offers the memory of its smallest type",
    "InstancesEFAValidator": "EFA is for lanes whose jobs spread over nodes (nodes_per_job)",
    "InstancesNetworkingValidator": "as many network cards as the type with the fewest are enough",
}


def look(template: Mapping[str, Any], say: Callable[[str], None]) -> Iterator[Check]:
    """What ParallelCluster says of the cluster in a template. Says when it could not be asked."""
    configuration = configuration_of(template)
    if configuration is None:
        return  # another engine
    try:
        judge: Judge = prepare(say=say)
        verdict = judge.judge({"cluster": configuration})["cluster"]
    except Unavailable as problem:
        yield warning(NAME, "ParallelCluster", f"its validators were not asked: {problem}", problem.fix)
        return
    yield from decide(verdict)


def decide(verdict: Mapping[str, Any]) -> Iterator[Check]:
    """A check for everything that ParallelCluster finds."""
    mend = (
        "Change the property of cryoem.yaml that it comes from; ParallelCluster would refuse the cluster at deployment"
    )
    wrong = [*verdict["schema"]]
    wrong += [f"{f['type']}: {f['message']}" for f in verdict["findings"] if f["level"] == "ERROR"]
    for reason in dict.fromkeys(wrong):
        yield error(NAME, "ParallelCluster", reason, mend)
    for finding in verdict["findings"]:
        if finding["level"] == "WARNING" and finding["type"] not in MEANT:
            reason = f"{finding['type']}: {finding['message']}"
            yield warning(NAME, "ParallelCluster", reason, "ParallelCluster would go on; see its documentation")
    if not wrong:
        resources = verdict["template_resources"]
        accepts = f"{PARALLEL_CLUSTER_VERSION} accepts the cluster, and makes {resources} resources of it"
        yield ok(NAME, "ParallelCluster", accepts)


def configuration_of(template: Mapping[str, Any]) -> dict[str, Any] | None:
    """The ClusterConfiguration in a template, with made-up names for what only exists after deployment."""
    for resource in template["Resources"].values():
        if resource["Type"] == _RESOURCE:
            settled: dict[str, Any] = _settle(resource["Properties"]["ClusterConfiguration"], "")
            return settled
    return None


def _settle(node: Any, key: str) -> Any:
    if isinstance(node, list):
        return [_settle(value, key) for value in node]
    if not isinstance(node, dict):
        return node
    if len(node) == 1:
        ((function, value),) = node.items()
        if function == "Fn::Join":
            return value[0].join(str(_settle(part, "")) for part in value[1])
        if function == "Fn::Sub" and isinstance(value, str):
            return re.sub(r"\$\{([^}]+)\}", lambda found: _name(found.group(1), ""), value)
        if function == "Ref":
            return _name(value, key)
        if function.startswith("Fn::"):
            return _name(repr(value), key)
    return {inner: _settle(value, inner) for inner, value in node.items()}


def _name(reference: str, key: str) -> str:
    """A name for a reference: the same for the same reference."""
    if reference in _PSEUDO:
        return _PSEUDO[reference]
    digest = hashlib.sha256(reference.encode()).hexdigest()[:17]
    form = next((form for end, form in _FORMS.items() if key.endswith(end)), "made-up-{}")
    return form.format(digest)
