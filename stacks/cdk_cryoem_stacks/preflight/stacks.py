"""CloudFormation: whether the account is bootstrapped, and stacks of this system that no deployment can go on from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..config import Config
from .ask import Clients, find
from .check import Check, error, ok, warning
from .places import Site, Stack

NAME = "stacks"
BOOTSTRAP = "CDKToolkit"
BOOTSTRAP_VERSION = 6
"""What the templates of aws-cdk-lib's default synthesizer ask for."""
_DEAD = ("CREATE_FAILED", "ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "DELETE_FAILED")


def names(config: Config) -> list[str]:
    """Every stack of a system; the last one is ParallelCluster's own."""
    own = [f"{config.name}-{part}" for part in ("network", "storage", "ingest", "cluster", "hooks")]
    return [*own, config.name] if config.engine == "parallelcluster" else own


def stack(clients: Clients, name: str) -> Stack | None:
    """A stack, if it is there. Errors: Unanswered."""
    answer = find(
        "cloudformation:DescribeStacks",
        lambda: clients.cloudformation.describe_stacks(StackName=name),
        missing=("ValidationError",),
    )
    if answer is None:
        return None
    found = answer["Stacks"][0]
    outputs = {
        o["OutputKey"]: o["OutputValue"] for o in found.get("Outputs", []) if "OutputKey" in o and "OutputValue" in o
    }
    return Stack(status=found["StackStatus"], outputs=outputs)


def deployed(clients: Clients, config: Config) -> dict[str, Stack]:
    """The stacks of this system that are there. Errors: Unanswered."""
    found = {name: stack(clients, name) for name in names(config)}
    return {name: there for name, there in found.items() if there is not None}


def decide_bootstrap(found: Stack | None, *, account: str, region: str) -> Check:
    """Whether `cdk deploy` finds its bucket and roles."""
    command = f"tools/cdk bootstrap aws://{account}/{region}"
    if found is None:
        return error("bootstrap", BOOTSTRAP, f"there is no stack {BOOTSTRAP} in {region}", command)
    if not found.status.endswith("_COMPLETE") or found.status in _DEAD:
        return error("bootstrap", BOOTSTRAP, f"the stack is {found.status}", f"Mend or delete it, then {command}")
    version = found.outputs.get("BootstrapVersion", "")
    if not version.isdigit() or int(version) < BOOTSTRAP_VERSION:
        reason = f"version {version or 'unknown'}, needed is {BOOTSTRAP_VERSION} or later"
        return error("bootstrap", BOOTSTRAP, reason, command)
    return ok("bootstrap", BOOTSTRAP, f"version {version}")


def decide(found: Mapping[str, Stack], *, region: str) -> Iterator[Check]:
    """Every stack that is there, by its status."""
    well: list[str] = []
    for name, there in found.items():
        status, which = there.status, f"--stack-name {name} --region {region}"
        if status in _DEAD:
            protected = name.endswith("-storage")
            mend = f"aws cloudformation delete-stack {which}"
            if protected:
                mend = f"aws cloudformation update-termination-protection --no-enable-termination-protection {which}; {mend}"
            reason = f"{status}: look in its events for the cause, then delete it; nothing can be deployed over it"
            yield error(NAME, name, reason, mend)
        elif status == "UPDATE_ROLLBACK_FAILED":
            reason = f"{status}: nothing can be deployed until it is rolled back"
            yield error(NAME, name, reason, f"aws cloudformation continue-update-rollback {which}")
        elif status in ("UPDATE_FAILED", "IMPORT_ROLLBACK_FAILED"):
            reason = f"{status}: look in its events for the cause"
            yield error(NAME, name, reason, f"aws cloudformation rollback-stack {which}")
        elif status.endswith("_IN_PROGRESS"):
            reason = f"{status}: somebody deploys, or a deployment was broken off"
            yield warning(NAME, name, reason, f"aws cloudformation describe-stack-events {which}")
        else:
            well.append(name)
    if well:
        yield ok(NAME, ", ".join(well), "there, and in a state to deploy over")
    if not found:
        yield ok(NAME, "all", "none is there yet")


def look(clients: Clients, site: Site) -> Iterator[Check]:
    """The bootstrap stack, and what is there of the system."""
    yield decide_bootstrap(stack(clients, BOOTSTRAP), account=site.account, region=site.region)
    if site.stacks is not None:
        yield from decide(site.stacks, region=site.region)
