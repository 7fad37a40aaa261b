"""SSM documents: stored, their parameters checked against their patterns, and really executed on the head node."""

from __future__ import annotations

import json
import os
import re

from . import ec2
from .extension import ApiError, Json, add_ssm_operations, client, register_type, run_commands

_documents: dict[str, Json] = {}


def _describe(document: Json) -> Json:
    return {
        "DocumentDescription": {
            "Name": document["Name"],
            "DocumentType": document["DocumentType"],
            "Status": "Active",
            "DocumentVersion": "1",
            "DefaultVersion": "1",
            "LatestVersion": "1",
            "SchemaVersion": document["Content"].get("schemaVersion", "2.2"),
            "DocumentFormat": "JSON",
        }
    }


def _one(name: str) -> Json:
    if name not in _documents:
        raise ApiError("InvalidDocument", f"{name} does not exist")
    return _documents[name]


def _create(args: Json) -> Json:
    if args["Name"] in _documents:
        raise ApiError("DocumentAlreadyExists", args["Name"])
    content = args["Content"] if isinstance(args["Content"], dict) else json.loads(args["Content"])
    _documents[args["Name"]] = {
        "Name": args["Name"],
        "DocumentType": args.get("DocumentType", "Command"),
        "Content": content,
    }
    return _describe(_documents[args["Name"]])


def _update(args: Json) -> Json:
    _one(args["Name"])["Content"] = json.loads(args["Content"])
    return _describe(_documents[args["Name"]])


def _get(args: Json) -> Json:
    document = _one(args["Name"])
    return {
        "Name": document["Name"],
        "DocumentType": document["DocumentType"],
        "DocumentVersion": "1",
        "Status": "Active",
        "DocumentFormat": "JSON",
        "Content": json.dumps(document["Content"]),
    }


def _delete(args: Json) -> Json:
    _documents.pop(args["Name"], None)
    return {}


def _values(data: Json) -> dict[str, str | None]:
    given = {
        name: value[0] if isinstance(value, list) else value for name, value in (data.get("Parameters") or {}).items()
    }
    declared = _documents[data["DocumentName"]]["Content"].get("parameters", {})
    return {name: given.get(name, rule.get("default")) for name, rule in declared.items()} | {
        name: value for name, value in given.items() if name not in declared
    }


def wrong_parameters(data: Json) -> str:
    """What is wrong with a command's parameters, in SSM's terms; empty when nothing is."""
    declared = _documents[data["DocumentName"]]["Content"].get("parameters", {})
    for name, value in _values(data).items():
        if name not in declared:
            return f"parameter {name} is not defined in document {data['DocumentName']}"
        if value is None:
            return f"parameter {name} has no value"
        pattern = declared[name].get("allowedPattern")
        if pattern and not re.fullmatch(pattern, value):
            return f"parameter {name} with value {value!r} does not match {pattern}"
    return ""


def rendered(data: Json) -> list[str]:
    """The command that a document's shell steps come to."""
    values = _values(data)
    lines = [
        line
        for step in _documents[data["DocumentName"]]["Content"]["mainSteps"]
        if step["action"] == "aws:runShellScript"
        for line in step["inputs"]["runCommand"]
    ]
    script = re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda found: str(values.get(found[1], found[0])), "\n".join(lines))
    return ["/bin/sh", "-c", script]


class _DocumentType:
    replacing = ("Name", "DocumentType")

    def create(self, logical_id: str, props: Json, stack: str) -> tuple[str, Json]:
        name = props.get("Name") or f"{stack}-{logical_id}-{os.urandom(6).hex()}"
        client("ssm").create_document(
            Name=name, Content=json.dumps(props["Content"]), DocumentType=props.get("DocumentType", "Command")
        )
        return name, {"Name": name}

    def update(self, physical_id: str, before: Json, after: Json, stack: str) -> tuple[str, Json]:
        client("ssm").update_document(Name=physical_id, Content=json.dumps(after["Content"]))
        return physical_id, {"Name": physical_id}

    def delete(self, physical_id: str, props: Json) -> None:
        client("ssm").delete_document(Name=physical_id)


def register() -> None:
    """Make documents known, and let SendCommand run them on the head node."""
    add_ssm_operations(
        {
            "CreateDocument": _create,
            "UpdateDocument": _update,
            "GetDocument": _get,
            "DeleteDocument": _delete,
            "DescribeDocument": lambda args: {"Document": _describe(_one(args["Name"]))["DocumentDescription"]},
        }
    )
    run_commands(
        knows=_documents.__contains__,
        check=wrong_parameters,
        argv=rendered,
        reachable=ec2.is_head_node,
        execute=ec2.execute,
    )
    register_type("AWS::SSM::Document", _DocumentType())
