"""The app: its flags, how its stacks hold together, and what linters say."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aws_cdk
import pytest
import systems
from aws_cdk.cx_api import CloudAssembly
from cluster_inputs import BOUNDARY, LICENSE

from cdk_cryoem_stacks.app import make_app
from cdk_cryoem_stacks.config import Config
from cdk_cryoem_stacks.flags import FLAGS, SERVICE_TOKEN_CONTEXT

TOKEN = "arn:aws:lambda:us-east-1:111122223333:function:provider"
Templates = dict[str, dict[str, Any]]
# Ours differ from what aws-cdk-lib recommends in one: a weak reference makes CloudFormation plan replacements.
OWN_CHOICES = {"@aws-cdk/core:defaultCrossStackReferences": "strong"}


def of_type(templates: Templates, kind: str) -> dict[str, dict[str, Any]]:
    return {
        name: resource
        for template in templates.values()
        for name, resource in template["Resources"].items()
        if resource["Type"] == kind
    }


@pytest.fixture(scope="module")
def recommended() -> dict[str, object]:
    (library,) = (Path(str(aws_cdk.__file__)).parent / "_jsii").glob("aws-cdk-lib@*.jsii.tgz")
    with tarfile.open(library) as archive:
        member = archive.extractfile("package/recommended-feature-flags.json")
        assert member is not None
        flags = json.load(member)
    assert isinstance(flags, dict)
    return flags


def test_the_flags_are_those_of_cdk_json(root: Path) -> None:
    settings = json.loads((root / "cdk.json").read_text())
    assert settings["context"] == dict(FLAGS)
    assert settings["app"] == ".venv/bin/python app.py"


def test_every_recommended_flag_is_set_as_recommended_but_for_our_choices(recommended: dict[str, object]) -> None:
    assert len(recommended) > 60
    assert {name: FLAGS.get(name) for name in recommended} == recommended | OWN_CHOICES


def test_the_app_has_the_flags_without_cdk_json() -> None:
    app = make_app()
    assert {name: app.node.try_get_context(name) for name in FLAGS} == dict(FLAGS)


def test_references_between_stacks_are_strong_but_for_the_head_node(templates: Templates) -> None:
    """An export cannot change while it is imported; another cluster has another head node."""
    weak = {stack: found for stack, template in templates.items() if (found := set(outputs_read(template)))}
    (name,) = weak.pop("hooks")
    assert weak == {}
    assert templates["cluster"]["Outputs"][name]["Value"]["Fn::GetAtt"][1] == "headNode.instanceId"
    importing = [stack for stack, template in templates.items() if "Fn::ImportValue" in json.dumps(template)]
    assert sorted(importing) == ["cluster", "hooks", "ingest", "storage"]


def outputs_read(value: Any) -> Iterator[str]:
    """Names of outputs that are read without an export."""
    if isinstance(value, dict):
        if "Fn::GetStackOutput" in value:
            yield value["Fn::GetStackOutput"]["OutputName"]
        for inner in value.values():
            yield from outputs_read(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from outputs_read(inner)


def test_every_imported_value_is_exported(templates: Templates) -> None:
    exported = {
        output["Export"]["Name"]
        for template in templates.values()
        for output in template.get("Outputs", {}).values()
        if "Export" in output
    }
    imported: set[str] = set()

    def look(value: Any) -> None:
        if isinstance(value, dict):
            if "Fn::ImportValue" in value:
                imported.add(value["Fn::ImportValue"])
            for inner in value.values():
                look(inner)
        elif isinstance(value, list):
            for inner in value:
                look(inner)

    look(templates)
    assert imported
    assert imported <= exported


def test_only_the_storage_is_protected_from_termination_and_the_order_is_that_of_lifecycles(
    assembly: CloudAssembly,
) -> None:
    protected = {stack.stack_name: stack.termination_protection for stack in assembly.stacks}
    assert [name for name, yes in protected.items() if yes] == ["cryoem-storage"]
    order = [name.removeprefix("cryoem-") for name in protected]
    assert order.index("network") < order.index("storage") < order.index("cluster") < order.index("hooks")
    cluster = assembly.get_stack_by_name("cryoem-cluster")
    needs = {dependency.id for dependency in cluster.dependencies}
    assert {"cryoem-network", "cryoem-storage"} <= needs


def test_everything_carries_the_systems_name(templates: Templates, assembly: CloudAssembly) -> None:
    for bucket in of_type(templates, "AWS::S3::Bucket").values():
        assert {"Key": "cryoem:system", "Value": "cryoem"} in bucket["Properties"]["Tags"]
    assert of_type(templates, "AWS::S3::Bucket")


def test_the_cluster_is_not_called_like_a_stack(templates: Templates, assembly: CloudAssembly) -> None:
    (cluster,) = of_type(templates, "Custom::PclusterCluster").values()
    assert cluster["Properties"]["ClusterName"] == "cryoem"
    assert "cryoem" not in [stack.stack_name for stack in assembly.stacks]


def test_by_default_the_provider_is_parallelclusters_own(templates: Templates) -> None:
    assert len(of_type(templates, "AWS::CloudFormation::Stack")) == 1


def test_a_service_token_in_the_context_replaces_the_provider(
    default_config: Config, synthesise: Callable[..., Templates], tmp_path: Path
) -> None:
    app = make_app(outdir=str(tmp_path))
    app.node.set_context(SERVICE_TOKEN_CONTEXT, TOKEN)
    made = synthesise(default_config, app=app)
    assert of_type(made, "AWS::CloudFormation::Stack") == {}
    (cluster,) = of_type(made, "Custom::PclusterCluster").values()
    assert cluster["Properties"]["ServiceToken"] == TOKEN


def test_two_systems_fit_in_one_account_without_a_name_in_common(
    default_config: Config, synthesise: Callable[..., Templates], templates: Templates
) -> None:
    other = synthesise(default_config.model_copy(update={"name": "second"}))

    def physical(made: Templates) -> set[str]:
        names = [
            json.dumps(r["Properties"]["ManagedPolicyName"]) for r in of_type(made, "AWS::IAM::ManagedPolicy").values()
        ]
        exports = [o["Export"]["Name"] for t in made.values() for o in t.get("Outputs", {}).values() if "Export" in o]
        return {*names, *exports}

    assert len(physical(other)) == len(physical(templates)) > 5
    assert not physical(other) & physical(templates)


def test_a_system_without_microscopes_and_budget_is_a_system(synthesise: Callable[..., Templates]) -> None:
    made = synthesise(Config(name="bare"))
    assert list(made["ingest"]["Resources"]) == ["Nothing"], "CloudFormation refuses a stack without resources"
    assert of_type(made, "AWS::DataSync::Task") == {}
    assert of_type(made, "AWS::Budgets::Budget") == {}


@pytest.fixture(scope="module")
def everything(synthesise: Callable[..., Templates], root: Path) -> Templates:
    """A system with everything that a configuration may say."""
    return synthesise(systems.everything(), folder=root / "twin")


def cluster_configuration(templates: Templates) -> dict[str, Any]:
    (cluster,) = of_type(templates, "Custom::PclusterCluster").values()
    found = cluster["Properties"]["ClusterConfiguration"]
    assert isinstance(found, dict)
    return found


def test_what_the_file_says_of_the_cluster_reaches_the_cluster(everything: Templates) -> None:
    found = cluster_configuration(everything)
    assert found["Image"] == {"Os": "ubuntu2404"}
    assert found["HeadNode"]["Dcv"] == {"Enabled": True, "AllowedIps": "10.0.0.0/8"}
    assert found["HeadNode"]["InstanceType"] == "m7i.2xlarge"
    assert found["HeadNode"]["LocalStorage"]["RootVolume"]["Size"] == 120
    assert found["SharedStorage"][1]["EbsSettings"]["Size"] == 500
    assert found["Iam"] == {"PermissionsBoundary": BOUNDARY}
    assert found["Monitoring"]["Logs"]["CloudWatch"]["RetentionInDays"] == 365
    assert found["Scheduling"]["SlurmSettings"]["ScaledownIdletime"] == 30
    names = [queue["Name"] for queue in found["Scheduling"]["SlurmQueues"]]
    assert names == ["cpu", "cpu-spot", "gpu1", "gpu1-spot", "spread", "reserved"]
    assert {tag["Key"]: tag["Value"] for tag in found["Tags"]} == {
        "cryoem:cluster": "every", "cryoem:system": "every", "Cost Center": "EM-4711", "owner": "em@example.org",
    }  # fmt: skip


def test_a_boundary_is_on_every_role_of_every_stack(everything: Templates, templates: Templates) -> None:
    """Those that ParallelCluster makes have it by its configuration; its provider's own are AWS's template."""
    roles = of_type(everything, "AWS::IAM::Role")
    assert len(roles) > 6
    assert {str(role["Properties"].get("PermissionsBoundary")) for role in roles.values()} == {BOUNDARY}
    assert "PermissionsBoundary" not in json.dumps(templates)


def test_tags_of_the_file_are_on_everything_beside_the_systems_own(everything: Templates) -> None:
    tagged = {
        kind: {tag["Key"]: tag["Value"] for tag in found["Properties"]["Tags"]}
        for kind in ("AWS::S3::Bucket", "AWS::FSx::FileSystem", "AWS::DynamoDB::Table", "AWS::Lambda::Function")
        for found in of_type(everything, kind).values()
    }
    assert len(tagged) == 4
    for tags in tagged.values():
        assert tags.items() >= {"cryoem:system": "every", "Cost Center": "EM-4711", "owner": "em@example.org"}.items()


def test_cryosparc_is_told_its_licence_and_its_backups_place(everything: Templates, templates: Templates) -> None:
    def setup(made: Templates) -> str:
        (found,) = [p for name, p in of_type(made, "AWS::SSM::Parameter").items() if "Setup" in name]
        return json.dumps(found["Properties"]["Value"])

    assert f'cryosparc_license_secret\\":\\"{LICENSE}' in setup(everything)
    assert 'cryosparc_version\\":\\"5.0.6' in setup(everything)
    assert 'results_bucket\\":\\"none' not in setup(everything)
    assert 'results_bucket\\":\\"none' not in setup(templates), "lists of files go there"
    assert "listings/" in json.dumps(templates["cluster"])
    assert "backups/" not in json.dumps(templates["cluster"]), "nothing to back up"


def test_stages_of_the_file_reach_the_manifest(everything: Templates) -> None:
    (found,) = [p for name, p in of_type(everything, "AWS::SSM::Parameter").items() if "LaneManifest" in name]
    assert json.loads(found["Properties"]["Value"])["stages"]["motion"] == "spread"


def test_with_pcs_there_is_no_parallelcluster_and_with_that_no_pcs(
    synthesise: Callable[..., Templates], root: Path, everything: Templates
) -> None:
    made = synthesise(systems.everything_on_pcs(), folder=root / "twin")
    assert of_type(made, "Custom::PclusterCluster") == of_type(everything, "AWS::PCS::Cluster") == {}
    assert len(of_type(made, "AWS::PCS::Cluster")) == 1
    assert len(of_type(made, "AWS::PCS::Queue")) == 6


def test_cfn_lint_has_nothing_to_say(assembly: CloudAssembly) -> None:
    # W3005 (a dependency that a reference implies already) comes from aws-cdk-lib itself. W6001 is the hooks' own exception,
    # in the template, where a list on the command line goes before it.
    files = sorted(str(path) for path in Path(assembly.directory).glob("*.template.json"))
    assert len(files) == 5
    ran = subprocess.run(
        [sys.executable, "-c", "import cfnlint.runner as r; r.main()", "--ignore-checks", "W3005", "W6001", "--", *files],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (ran.returncode, ran.stdout) == (0, ""), ran.stderr
