"""FSx for Lustre: a file system is a folder, an association really copies between it and S3.

What differs from FSx: content is copied at import (FSx copies it at first read), there are no quotas, no time has to pass
between two changes of capacity, and an association is well again as soon as its bucket is.
"""

from __future__ import annotations

import os
import shutil
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ..places import places
from . import fsx_tasks
from .extension import ApiError, Json, account, client, in_this_context, region, register_service, register_type
from .lustre_sync import Association, miss_what_changed, synchronise

# What FSx changes of a Lustre file system that runs (API reference, UpdateFileSystemLustreConfiguration).
_LIVE = ("PerUnitStorageThroughput", "DataCompressionType", "MetadataConfiguration")
_file_systems: dict[str, Json] = {}
_associations: dict[str, Json] = {}
_syncs: dict[str, Association] = {}
_gone: dict[str, threading.Event] = {}


def folder(file_system_id: str) -> Path:
    """The file system's files."""
    return places().file_systems / file_system_id


def _new(prefix: str) -> str:
    return f"{prefix}-{os.urandom(9).hex()[:17]}"


def _one(store: dict[str, Json], key: str, code: str) -> Json:
    if key not in store:
        raise ApiError(code, f"{key} does not exist")
    return store[key]


def _create_file_system(args: Json) -> Json:
    name = _new("fs")
    _file_systems[name] = {
        "FileSystemId": name,
        "OwnerId": account(),
        "CreationTime": datetime.now(UTC),
        "FileSystemType": args["FileSystemType"],
        "Lifecycle": "AVAILABLE",
        "StorageCapacity": args.get("StorageCapacity"),
        "StorageType": args.get("StorageType", "SSD"),
        "SubnetIds": args["SubnetIds"],
        "DNSName": f"{name}.fsx.{region()}.amazonaws.com",
        "ResourceARN": f"arn:aws:fsx:{region()}:{account()}:file-system/{name}",
        "Tags": args.get("Tags", []),
        "FileSystemTypeVersion": args.get("FileSystemTypeVersion"),
        "LustreConfiguration": {**args.get("LustreConfiguration", {}), "MountName": os.urandom(4).hex()},
    }
    folder(name).mkdir(parents=True)
    return {"FileSystem": _file_systems[name]}


def _describe_file_systems(args: Json) -> Json:
    names = args.get("FileSystemIds") or list(_file_systems)
    return {"FileSystems": [_one(_file_systems, name, "FileSystemNotFound") for name in names]}


def _update_file_system(args: Json) -> Json:
    found = _one(_file_systems, args["FileSystemId"], "FileSystemNotFound")
    capacity = args.get("StorageCapacity")
    if capacity:
        if capacity <= found["StorageCapacity"] or capacity % 2400:
            raise ApiError("BadRequest", f"{capacity} GiB is no multiple of 2400 above {found['StorageCapacity']}")
        found["StorageCapacity"] = capacity
    found["LustreConfiguration"].update(args.get("LustreConfiguration", {}))
    return {"FileSystem": found}


def _delete_file_system(args: Json) -> Json:
    name = _one(_file_systems, args["FileSystemId"], "FileSystemNotFound")["FileSystemId"]
    if fsx_tasks.running(name):
        raise ApiError("BadRequest", f"a data repository task of {name} has not ended")
    for association in [a for a in _associations.values() if a["FileSystemId"] == name]:
        _delete_association({"AssociationId": association["AssociationId"]})
    del _file_systems[name]
    shutil.rmtree(folder(name))
    return {"FileSystemId": name, "Lifecycle": "DELETING"}


def _create_association(args: Json) -> Json:
    file_system = _one(_file_systems, args["FileSystemId"], "FileSystemNotFound")
    name = _new("dra")
    bucket, _, prefix = args["DataRepositoryPath"].removeprefix("s3://").partition("/")
    rules = args.get("S3", {})
    created: Json = {
        "AssociationId": name,
        "ResourceARN": f"arn:aws:fsx:{region()}:{account()}:association/{file_system['FileSystemId']}/{name}",
        "FileSystemId": file_system["FileSystemId"],
        "Lifecycle": "AVAILABLE",
        "FileSystemPath": args["FileSystemPath"],
        "DataRepositoryPath": args["DataRepositoryPath"],
        "S3": rules,
        "CreationTime": datetime.now(UTC),
        "Tags": args.get("Tags", []),
    }
    association = Association(
        folder=folder(file_system["FileSystemId"]) / args["FileSystemPath"].strip("/"),
        bucket=bucket,
        prefix=prefix.rstrip("/") + "/" if prefix else "",
        imports=frozenset(rules.get("AutoImportPolicy", {}).get("Events", [])),
        exports=frozenset(rules.get("AutoExportPolicy", {}).get("Events", [])),
        import_what_is_there=bool(args.get("BatchImportMetaDataOnCreate")),
    )
    association.folder.mkdir(parents=True, exist_ok=True)
    _associations[name], _syncs[name] = created, association
    _gone[name] = threading.Event()
    threading.Thread(
        target=in_this_context(synchronise),
        args=(association, client("s3"), _gone[name], lambda trouble: _note(created, trouble)),
        daemon=True,
        name=name,
    ).start()
    return {"Association": created}


def _note(created: Json, trouble: str) -> None:
    """An association that cannot reach its bucket is misconfigured until it can again."""
    created["Lifecycle"] = "MISCONFIGURED" if trouble else "AVAILABLE"
    if trouble:
        created["FailureDetails"] = {"Message": trouble[:256]}
    else:
        created.pop("FailureDetails", None)


def _update_association(args: Json) -> Json:
    """The rules of S3 that are named are changed, the others stay."""
    found = _one(_associations, args["AssociationId"], "DataRepositoryAssociationNotFound")
    association, rules = _syncs[args["AssociationId"]], args.get("S3", {})
    found["S3"] = {**found["S3"], **rules}
    if "AutoImportPolicy" in rules:
        association.imports = frozenset(rules["AutoImportPolicy"].get("Events", []))
    if "AutoExportPolicy" in rules:
        events = frozenset(rules["AutoExportPolicy"].get("Events", []))
        if events and not association.exports:
            miss_what_changed(association)
        association.exports = events
    return {"Association": found}


def _create_task(args: Json) -> Json:
    name = _one(_file_systems, args["FileSystemId"], "FileSystemNotFound")["FileSystemId"]
    here = {each["FileSystemPath"]: _syncs[key] for key, each in _associations.items() if each["FileSystemId"] == name}
    return fsx_tasks.create(args, here)


def _describe_associations(args: Json) -> Json:
    found = [a for a in _associations.values() if a["AssociationId"] in args.get("AssociationIds", _associations)]
    for rule in args.get("Filters", []):
        if rule["Name"] == "file-system-id":
            found = [a for a in found if a["FileSystemId"] in rule["Values"]]
    return {"Associations": found}


def _delete_association(args: Json) -> Json:
    name = _one(_associations, args["AssociationId"], "DataRepositoryAssociationNotFound")["AssociationId"]
    del _associations[name], _syncs[name]
    _gone.pop(name).set()
    return {"AssociationId": name, "Lifecycle": "DELETING", "DeleteDataInFileSystem": False}


def _typed(value: Any) -> Any:
    """CloudFormation sends numbers and booleans as text."""
    if isinstance(value, dict):
        return {key: _typed(each) if key != "FileSystemTypeVersion" else str(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_typed(each) for each in value]
    if isinstance(value, str):
        return int(value) if value.isdigit() else {"true": True, "false": False}.get(value, value)
    return value


class _FileSystemType:
    replacing = ("KmsKeyId", "SecurityGroupIds", "FileSystemType", "SubnetIds", "BackupId")

    @staticmethod
    def _attributes(made: Json) -> tuple[str, Json]:
        name = made["FileSystemId"]
        return name, {
            "Id": name,
            "DNSName": made["DNSName"],
            "ResourceARN": made["ResourceARN"],
            "LustreMountName": made["LustreConfiguration"]["MountName"],
        }

    def create(self, logical_id: str, props: Json, stack: str) -> tuple[str, Json]:
        return self._attributes(client("fsx").create_file_system(**_typed(props))["FileSystem"])

    def update(self, physical_id: str, before: Json, after: Json, stack: str) -> tuple[str, Json]:
        old, new = _typed(before), _typed(after)
        changed: Json = {}
        if new["StorageCapacity"] != old.get("StorageCapacity"):
            changed["StorageCapacity"] = new["StorageCapacity"]
        settings = {
            name: value
            for name, value in new.get("LustreConfiguration", {}).items()
            if name in _LIVE and value != old.get("LustreConfiguration", {}).get(name)
        }
        if settings:
            changed["LustreConfiguration"] = settings
        if not changed:
            return self._attributes(_one(_file_systems, physical_id, "FileSystemNotFound"))
        return self._attributes(client("fsx").update_file_system(FileSystemId=physical_id, **changed)["FileSystem"])

    def delete(self, physical_id: str, props: Json) -> None:
        client("fsx").delete_file_system(FileSystemId=physical_id)


class _AssociationType:
    replacing = ("FileSystemId", "FileSystemPath", "DataRepositoryPath", "BatchImportMetaDataOnCreate")

    def create(self, logical_id: str, props: Json, stack: str) -> tuple[str, Json]:
        made = client("fsx").create_data_repository_association(**_typed(props))["Association"]
        return made["AssociationId"], {"AssociationId": made["AssociationId"], "ResourceARN": made["ResourceARN"]}

    def update(self, physical_id: str, before: Json, after: Json, stack: str) -> tuple[str, Json]:
        # A rule that the template no longer has is switched off.
        rules = {"AutoImportPolicy": {"Events": []}, "AutoExportPolicy": {"Events": []}, **_typed(after.get("S3", {}))}
        made = client("fsx").update_data_repository_association(AssociationId=physical_id, S3=rules)["Association"]
        return physical_id, {"AssociationId": physical_id, "ResourceARN": made["ResourceARN"]}

    def delete(self, physical_id: str, props: Json) -> None:
        client("fsx").delete_data_repository_association(AssociationId=physical_id)


def _resource(operation: str, args: Json) -> str:
    """What a call is allowed on; what describes is not held to a resource here."""
    if operation in ("CreateDataRepositoryTask", "UpdateFileSystem", "DeleteFileSystem"):
        return f"arn:aws:fsx:{region()}:{account()}:file-system/{args.get('FileSystemId')}"
    return "*"


def register() -> None:
    """Make FSx known."""
    register_service(
        "fsx",
        {
            "CreateFileSystem": _create_file_system,
            "DescribeFileSystems": _describe_file_systems,
            "UpdateFileSystem": _update_file_system,
            "DeleteFileSystem": _delete_file_system,
            "CreateDataRepositoryAssociation": _create_association,
            "DescribeDataRepositoryAssociations": _describe_associations,
            "UpdateDataRepositoryAssociation": _update_association,
            "DeleteDataRepositoryAssociation": _delete_association,
            "CreateDataRepositoryTask": _create_task,
            "DescribeDataRepositoryTasks": fsx_tasks.describe,
        },
        resource_of=_resource,
    )
    register_type("AWS::FSx::FileSystem", _FileSystemType())
    register_type("AWS::FSx::DataRepositoryAssociation", _AssociationType())
