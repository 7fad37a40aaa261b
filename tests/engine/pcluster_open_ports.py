#!/usr/bin/env python3
"""Who may reach the machines of the template that ParallelCluster makes of each configuration.

    pcluster_open_ports.py CHECK < configurations.json > rules.json

CHECK is the path of check.py, which makes the template. Input: {NAME: configuration}. Output: {NAME: {"ingress": [[resource, from
port, source]], "public": [resource]}}; public are instances and launch templates that ask for a public address, and addresses.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
from typing import Any


def rules(name: str, properties: dict[str, Any]) -> list[list[Any]]:
    """Ingress rules within a security group, or the one that a resource of its own is."""
    found = properties.get("SecurityGroupIngress") or ([properties] if "GroupId" in properties else [])
    return [
        [
            name,
            rule.get("FromPort"),
            rule.get("CidrIp") or rule.get("CidrIpv6") or rule.get("SourcePrefixListId") or "group",
        ]
        for rule in found
    ]


def is_public(resource: dict[str, Any]) -> bool:
    """Whether it is, or asks for, a public address."""
    if resource["Type"] == "AWS::EC2::EIP":
        return True
    properties = resource.get("Properties", {})
    interfaces = properties.get("NetworkInterfaces", [])
    interfaces += properties.get("LaunchTemplateData", {}).get("NetworkInterfaces", [])
    return any(str(interface.get("AssociatePublicIpAddress", "false")).lower() == "true" for interface in interfaces)


def main() -> None:
    """Judge every configuration, and keep the templates on their way."""
    spec = importlib.util.spec_from_file_location("check", sys.argv[1])
    assert spec is not None
    assert spec.loader is not None
    check = importlib.util.module_from_spec(spec)
    sys.modules["check"] = check
    spec.loader.exec_module(check)
    from pcluster.templates.cdk_builder import CDKTemplateBuilder

    made: list[dict[str, Any]] = []
    build = CDKTemplateBuilder.build_cluster_template

    def keeping(*arguments: Any, **options: Any) -> Any:
        template, assets = build(*arguments, **options)
        made.extend([template, *(asset["content"] for asset in assets)])
        return template, assets

    CDKTemplateBuilder.build_cluster_template = staticmethod(keeping)
    asyncio.set_event_loop(asyncio.new_event_loop())
    check.patch()
    found = {}
    for name, configuration in json.load(sys.stdin).items():
        made.clear()
        verdict = check.check(configuration, configuration["Region"], name)
        assert made, verdict
        resources = {key: value for template in made for key, value in template.get("Resources", {}).items()}
        ingress = ("AWS::EC2::SecurityGroup", "AWS::EC2::SecurityGroupIngress")
        found[name] = {
            "ingress": [
                rule
                for key, value in resources.items()
                if value["Type"] in ingress
                for rule in rules(key, value["Properties"])
            ],
            "public": [key for key, value in resources.items() if is_public(value)],
        }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
