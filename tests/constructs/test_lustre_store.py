"""FSx for Lustre is a cache: movies come in, results go out, nothing is deleted on either side."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from aws_cdk import Size, Stack
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_kms as kms
from aws_cdk import aws_s3 as s3
from aws_cdk.assertions import Match, Template

from cdk_cryoem import Association, CryoEmError, ILustreStore, LustreStore

Made = tuple[Stack, LustreStore, Template]


def network(stack: Stack) -> ec2.IVpc:
    return ec2.Vpc.from_vpc_attributes(
        stack, "Vpc", vpc_id="vpc-1", availability_zones=["eu-west-1a"], private_subnet_ids=["subnet-1"]
    )


def parts(stack: Stack) -> dict[str, Any]:
    vpc = network(stack)
    return {
        "vpc": vpc,
        "subnet": vpc.private_subnets[0],
        "landing_bucket": s3.Bucket.from_bucket_name(stack, "Landing", "movies"),
        "results_bucket": s3.Bucket.from_bucket_name(stack, "Results", "results"),
    }


@pytest.fixture(scope="module")
def made(new_stack: Callable[[str], Stack]) -> Made:
    stack = new_stack("Defaults")
    store = LustreStore(stack, "Store", **parts(stack))
    return stack, store, Template.from_stack(stack)


def test_the_default_is_persistent_ssd_of_2400_gib_at_250(made: Made) -> None:
    made[2].has_resource(
        "AWS::FSx::FileSystem",
        {
            "DeletionPolicy": "Retain",
            "UpdateReplacePolicy": "Retain",
            "Properties": {
                "FileSystemType": "LUSTRE",
                "FileSystemTypeVersion": "2.15",
                "StorageCapacity": 2400,
                "StorageType": "SSD",
                "SubnetIds": ["subnet-1"],
                "KmsKeyId": Match.absent(),
                "LustreConfiguration": {
                    "DeploymentType": "PERSISTENT_2",
                    "PerUnitStorageThroughput": 250,
                    "DataCompressionType": "LZ4",
                    "MetadataConfiguration": {"Mode": "AUTOMATIC"},
                    "ImportPath": Match.absent(),
                },
            },
        },
    )


def test_movies_are_imported_and_never_exported(made: Made) -> None:
    made[2].has_resource_properties(
        "AWS::FSx::DataRepositoryAssociation",
        {
            "FileSystemPath": "/data",
            "DataRepositoryPath": "s3://movies/datasets/",
            "BatchImportMetaDataOnCreate": True,
            "S3": {"AutoImportPolicy": {"Events": ["NEW", "CHANGED"]}, "AutoExportPolicy": Match.absent()},
        },
    )


def test_results_are_exported_and_never_imported(made: Made) -> None:
    made[2].has_resource_properties(
        "AWS::FSx::DataRepositoryAssociation",
        {
            "FileSystemPath": "/projects",
            "DataRepositoryPath": "s3://results/projects/",
            "S3": {"AutoExportPolicy": {"Events": ["NEW", "CHANGED"]}, "AutoImportPolicy": Match.absent()},
        },
    )


def test_no_association_exports_deletions_and_all_are_retained(made: Made) -> None:
    associations = made[2].find_resources("AWS::FSx::DataRepositoryAssociation")
    assert len(associations) == 2
    for association in associations.values():
        assert association["DeletionPolicy"] == "Retain"
        assert "DELETED" not in str(association["Properties"]["S3"])


def test_just_the_lustre_ports_are_open(made: Made) -> None:
    opened = {
        (rule["Properties"]["FromPort"], rule["Properties"]["ToPort"])
        for rule in made[2].find_resources("AWS::EC2::SecurityGroupIngress").values()
    }
    assert opened == {(988, 988), (1018, 1023)}
    groups = made[2].find_resources("AWS::EC2::SecurityGroup")
    assert len(groups) == 2
    assert all("SecurityGroupIngress" not in group["Properties"] for group in groups.values()), "no CIDR may come in"


def test_servers_and_clients_reach_each_other_both_ways(made: Made) -> None:
    stack, store, template = made
    own = stack.resolve(store.file_system_security_group.security_group_id)
    clients = stack.resolve(store.client_security_group.security_group_id)
    rules = [rule["Properties"] for rule in template.find_resources("AWS::EC2::SecurityGroupIngress").values()]
    ways = {(str(rule["SourceSecurityGroupId"]), str(rule["GroupId"]), rule["FromPort"]) for rule in rules}
    assert ways == {
        (str(source), str(target), port)
        for source, target in ((own, own), (clients, own), (own, clients))
        for port in (988, 1018)
    }


def test_everything_set(stack: Stack) -> None:
    group = ec2.SecurityGroup.from_security_group_id
    store = LustreStore(
        stack,
        "Store",
        **parts(stack),
        capacity=Size.tebibytes(75),
        throughput_mibps_per_tib=1000,
        metadata_iops=12_000,
        lustre_version="2.12",
        key=kms.Key.from_key_arn(stack, "Key", "arn:aws:kms:eu-west-1:111122223333:key/own"),
        client_security_group=group(stack, "Clients", "sg-clients"),
        file_system_security_group=group(stack, "Servers", "sg-servers"),
        associations=[
            Association(
                path="/references/maps",
                bucket=s3.Bucket.from_bucket_name(stack, "More", "more"),
                prefix="maps/",
                import_events=("NEW", "CHANGED", "DELETED"),
            )
        ],
    )
    template = Template.from_stack(stack)
    template.has_resource_properties(
        "AWS::FSx::FileSystem",
        {
            "StorageCapacity": 76_800,
            "KmsKeyId": "arn:aws:kms:eu-west-1:111122223333:key/own",
            "SecurityGroupIds": ["sg-servers"],
            "FileSystemTypeVersion": "2.12",
            "LustreConfiguration": {
                "PerUnitStorageThroughput": 1000,
                "MetadataConfiguration": {"Mode": "USER_PROVISIONED", "Iops": 12_000},
            },
        },
    )
    template.resource_count_is("AWS::EC2::SecurityGroup", 0)
    template.resource_count_is("AWS::EC2::SecurityGroupIngress", 0)
    template.resource_count_is("AWS::FSx::DataRepositoryAssociation", 3)
    assert store.client_security_group.security_group_id == "sg-clients"


def test_scratch_2_has_neither_throughput_nor_metadata(stack: Stack) -> None:
    LustreStore(
        stack, "Store", **parts(stack), deployment_type="SCRATCH_2", throughput_mibps_per_tib=None,
        capacity=Size.gibibytes(1200),
    )  # fmt: skip
    Template.from_stack(stack).has_resource_properties(
        "AWS::FSx::FileSystem",
        {
            "StorageCapacity": 1200,
            "LustreConfiguration": {
                "DeploymentType": "SCRATCH_2",
                "PerUnitStorageThroughput": Match.absent(),
                "MetadataConfiguration": Match.absent(),
            },
        },
    )


def test_everything_wrong_is_reported_at_once(stack: Stack) -> None:
    bucket = s3.Bucket.from_bucket_name(stack, "More", "more")
    bad = Association(path="/data/sub", bucket=bucket, prefix="x/", export_events=("DELETED",))
    with pytest.raises(CryoEmError, match=r"^LustreStore 'Store': ") as caught:
        LustreStore(
            stack, "Store", **parts(stack), capacity=Size.gibibytes(1024), throughput_mibps_per_tib=300,
            associations=[bad],
        )  # fmt: skip
    assert [problem.property for problem in caught.value.problems] == [
        "capacity_gib", "throughput_mibps_per_tib", "association /data/sub.export_events", "path",
    ]  # fmt: skip


def test_two_prefixes_of_one_bucket_may_not_overlap(stack: Stack) -> None:
    given = parts(stack)
    again = Association(path="/again", bucket=given["landing_bucket"], prefix="datasets/em-1/", import_events=("NEW",))
    with pytest.raises(CryoEmError, match="data_repository_path"):
        LustreStore(stack, "Store", **given, associations=[again])


def test_nine_associations_are_too_many(stack: Stack) -> None:
    bucket = s3.Bucket.from_bucket_name(stack, "More", "more")
    more = [Association(path=f"/p{number}", bucket=bucket, prefix=f"{number}/") for number in range(7)]
    with pytest.raises(CryoEmError, match="associations: got 9, allowed: 8 at most"):
        LustreStore(stack, "Store", **parts(stack), associations=more)


def test_two_stores_fit_in_one_stack(stack: Stack) -> None:
    given = parts(stack)
    for name in ("A", "B"):
        LustreStore(stack, name, **given)
    template = Template.from_stack(stack)
    template.resource_count_is("AWS::FSx::FileSystem", 2)
    template.resource_count_is("AWS::EC2::SecurityGroup", 4)
    template.all_resources_properties("AWS::EC2::SecurityGroup", {"GroupName": Match.absent()})


def test_a_store_made_elsewhere_is_a_store(stack: Stack) -> None:
    group = ec2.SecurityGroup.from_security_group_id(stack, "Clients", "sg-clients")
    store = LustreStore.from_lustre_store_attributes(file_system_id="fs-1", client_security_group=group)
    assert isinstance(store, ILustreStore)
    assert (store.file_system_id, store.client_security_group) == ("fs-1", group)
    assert store.mount_source is None, "ParallelCluster does without"
    told = LustreStore.from_lustre_store_attributes(
        file_system_id="fs-1", client_security_group=group, mount_source="host@tcp:/name"
    )
    assert told.mount_source == "host@tcp:/name"


def test_metric_and_mount_source_are_those_of_the_file_system(made: Made) -> None:
    stack, store, _ = made
    assert stack.resolve(store.metric_free_storage_bytes().dimensions) == {
        "FileSystemId": stack.resolve(store.file_system_id)
    }
    host, name = (
        {"Fn::GetAtt": [stack.get_logical_id(store.file_system), attribute]}
        for attribute in ("DNSName", "LustreMountName")
    )
    assert stack.resolve(store.mount_source) == {"Fn::Join": ["", [host, "@tcp:/", name]]}
    assert store.connections.security_groups == [store.file_system_security_group]


def test_free_space_is_that_of_one_minute_and_the_queues_are_told_apart(made: Made) -> None:
    stack, store, _ = made
    free = store.metric_free_storage_bytes()
    assert (free.statistic, free.period.to_seconds()) == ("Sum", 60)
    queued = store.metric_queued_seconds("AutoExport")
    assert (queued.metric_name, queued.statistic, queued.period.to_seconds()) == (
        "AgeOfOldestQueuedMessage", "Maximum", 60,
    )  # fmt: skip
    assert stack.resolve(queued.dimensions) == {
        "FileSystemId": stack.resolve(store.file_system_id),
        "Publisher": "AutoExport",
    }
    percent = store.metric_free_storage_percent()
    assert percent.expression == f"100 * free / {2400 * 2**30}"


def test_the_next_generation_is_another_file_system_that_shows_what_s3_has(new_stack: Callable[[str], Stack]) -> None:
    templates = []
    for generation in (1, 2):
        stack = new_stack("Same")
        LustreStore(stack, "Store", **parts(stack), generation=generation)
        templates.append(Template.from_stack(stack).to_json()["Resources"])
    first, second = templates
    made_anew = ("AWS::FSx::FileSystem", "AWS::FSx::DataRepositoryAssociation")

    def names(template: dict[str, Any], ours: bool) -> set[str]:
        return {name for name, each in template.items() if (each["Type"] in made_anew) is ours}

    assert not names(first, True) & names(second, True), "CloudFormation makes another one, and keeps the old one"
    assert names(first, False) == names(second, False)
    for name in names(second, True):
        each = second[name]
        assert each["DeletionPolicy"] == "Retain"
        if each["Type"] == "AWS::FSx::DataRepositoryAssociation":
            assert each["Properties"]["BatchImportMetaDataOnCreate"] is True
    results = [each["Properties"] for each in first.values() if each["Properties"].get("FileSystemPath") == "/projects"]
    assert [each["BatchImportMetaDataOnCreate"] for each in results] == [False], (
        "as it was before there were generations"
    )


def test_a_generation_that_is_none_is_refused(stack: Stack) -> None:
    with pytest.raises(CryoEmError, match="generation: got 0, allowed: 1 to 1000"):
        LustreStore(stack, "Store", **parts(stack), generation=0)


def test_growing_changes_the_capacity_and_nothing_else(new_stack: Callable[[str], Stack]) -> None:
    templates = []
    for capacity in (2400, 4800):
        stack = new_stack("Same")
        LustreStore(stack, "Store", **parts(stack), capacity=Size.gibibytes(capacity))
        templates.append(Template.from_stack(stack).to_json()["Resources"])
    small, large = templates
    assert set(small) == set(large)
    (changed,) = [name for name in small if small[name] != large[name]]
    assert small[changed]["Type"] == "AWS::FSx::FileSystem"
    assert large[changed]["Properties"].pop("StorageCapacity") == 4800
    assert small[changed]["Properties"].pop("StorageCapacity") == 2400
    assert small[changed] == large[changed]
