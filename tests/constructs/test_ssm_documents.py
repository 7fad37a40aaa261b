"""What Lambda may ask of the head node: named verbs, and parameters that cannot become shell."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from aws_cdk import Stack
from aws_cdk import aws_iam as iam
from aws_cdk.assertions import Match, Template
from hypothesis import given
from hypothesis import strategies as st

from cdk_cryoem import HeadNodeDocuments
from cdk_cryoem.ssm_documents import NAME_PATTERN

Contents = dict[str, dict[str, Any]]
GOOD = {
    "Nodes": ["gpu1-dy-nodes-1=1700000000", "a-1=1,b-2=2", "a=2026-11-21T10:00:00"],
    "Mode": ["show", "converge"],
    "ManifestSha256": ["0" * 64, "abcdef0123456789" * 4],
    "Dataset": ["em-1", "Session_2026.11.21", "a" * 100],
    "Recipe": ["spa-quickstart"],
    "Objects": ["0", "50000"],
    "UsedUntil": ["0", "1800000000"],
    "DecidedAt": ["1800000000"],
    "IdleMinutes": ["60"],
    "Session": ["P3S1"],
    "Seen": ["1800000000"],
    "Folder": [".", "projects", "data/em-1", "data/grille%20d%C3%A9tect%C3%A9e/a%0Ab"],
    "Checksums": ["yes", "no"],
    "Key": ["20261121T101500-1a2b", "a"],
}
SHELL = [";", "$(", "`", "'", '"', "\n", " ", "|", "&", ">", "\\", "{{", "/"]
PARAMETERS = sorted(GOOD)


@pytest.fixture(scope="module")
def template(new_stack: Callable[[str], Stack]) -> Template:
    stack = new_stack("Documents")
    HeadNodeDocuments(stack, "Documents")
    return Template.from_stack(stack)


@pytest.fixture(scope="module")
def contents(template: Template) -> Contents:
    found = template.find_resources("AWS::SSM::Document")
    return {
        str(document["Properties"]["Content"]["description"]): document["Properties"]["Content"]
        for document in found.values()
    }


@pytest.fixture(scope="module")
def patterns(contents: Contents) -> dict[str, re.Pattern[str]]:
    return {
        name: re.compile(parameter["allowedPattern"])
        for content in contents.values()
        for name, parameter in content.get("parameters", {}).items()
    }


def test_there_is_one_document_for_each_verb(contents: Contents) -> None:
    commands = [content["mainSteps"][0]["inputs"]["runCommand"] for content in contents.values()]
    verbs = sorted(
        re.sub(r'^exec "\$\{CRYOEM_HOME:-/opt/cryoem\}/bin/"([a-z-]+).*', r"\1", lines[-1]) for lines in commands
    )
    assert verbs == [
        "backup-database", "list-files", "live-sessions", "live-sessions", "power-down", "register-lanes", "slurm-status",
        "start-processing", "stop-head-node",
    ]  # fmt: skip


def test_a_backup_has_the_time_it_needs(contents: Contents) -> None:
    seconds = {
        description.split()[0]: int(content["mainSteps"][0]["inputs"]["timeoutSeconds"])
        for description, content in contents.items()
    }
    assert seconds["Back"] == 21_600
    assert max(seconds.values()) <= 172_800, "more than Systems Manager takes"


def test_every_parameter_has_an_anchored_pattern(contents: Contents) -> None:
    parameters = {
        name: parameter for content in contents.values() for name, parameter in content.get("parameters", {}).items()
    }
    assert sorted(parameters) == PARAMETERS
    for name, parameter in parameters.items():
        assert parameter["type"] == "String", name
        assert parameter["allowedPattern"].startswith("^"), name
        assert parameter["allowedPattern"].endswith("$"), name


def test_commands_use_exactly_their_parameters_and_quote_them(contents: Contents) -> None:
    for content in contents.values():
        line = content["mainSteps"][0]["inputs"]["runCommand"][-1]
        used = re.findall(r"'\{\{ (\w+) \}\}'", line)
        assert used == re.findall(r"\{\{ (\w+) \}\}", line), "a parameter outside of quotes"
        assert sorted(used) == sorted(content.get("parameters", {}))


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in GOOD.items() for value in values])
def test_good_values_pass(patterns: dict[str, re.Pattern[str]], name: str, value: str) -> None:
    assert patterns[name].fullmatch(value)


@pytest.mark.parametrize("shell", SHELL)
@pytest.mark.parametrize("name", PARAMETERS)
def test_shell_is_refused_wherever_it_stands(patterns: dict[str, re.Pattern[str]], name: str, shell: str) -> None:
    for good in GOOD[name]:
        for position in (0, len(good) // 2, len(good)):
            if (name, shell) != ("Folder", "/"):
                assert not patterns[name].fullmatch(good[:position] + shell + good[position:])


@pytest.mark.parametrize(("name", "value"), [("Dataset", ""), ("Dataset", "a" * 101), ("Dataset", "-rf"), ("Dataset", ".."),
                                             ("ManifestSha256", "0" * 63), ("ManifestSha256", "A" * 64), ("Mode", "remove"),
                                             ("Folder", ""), ("Folder", "/data"), ("Folder", "data/"), ("Folder", "data//a"),
                                             ("Folder", "a%2"), ("Folder", "a%zz"), ("Checksums", "true"), ("Key", "-a"),
                                             ("Nodes", "a"), ("Nodes", ",".join(["a=1"] * 101))])  # fmt: skip
def test_values_of_the_wrong_form_are_refused(patterns: dict[str, re.Pattern[str]], name: str, value: str) -> None:
    assert not patterns[name].fullmatch(value)


@given(st.text())
def test_nothing_that_passes_can_leave_its_quotes(value: str) -> None:
    if re.fullmatch(NAME_PATTERN, value):
        assert not set(value) & set("'\"\\`$;&|<>(){}*?!~# \n\t")


def test_a_sender_may_run_the_named_documents_on_one_instance(stack: Stack) -> None:
    documents = HeadNodeDocuments(stack, "Documents")
    sender = iam.Role(stack, "Sender", assumed_by=iam.AccountRootPrincipal())
    documents.grant_send(sender, documents.slurm_status, instance_id="i-1")
    (policy,) = Template.from_stack(stack).find_resources("AWS::IAM::Policy").values()
    send, read = policy["Properties"]["PolicyDocument"]["Statement"]
    assert send["Action"] == "ssm:SendCommand"
    ends = [resource["Fn::Join"][1][-1] for resource in send["Resource"]]
    assert ends == [":instance/i-1", stack.resolve(documents.slurm_status.ref)]
    assert (read["Action"], read["Resource"]) == ("ssm:GetCommandInvocation", "*")


def test_two_sets_fit_in_one_stack_and_names_are_generated(stack: Stack) -> None:
    for name in ("A", "B"):
        HeadNodeDocuments(stack, name)
    template = Template.from_stack(stack)
    template.resource_count_is("AWS::SSM::Document", 18)
    template.all_resources_properties(
        "AWS::SSM::Document", {"Name": Match.absent(), "DocumentType": "Command", "UpdateMethod": "NewVersion"}
    )
