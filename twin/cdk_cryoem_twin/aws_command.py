"""`aws`, as far as the head node's scripts use it: s3 cp, and ssm get-parameter. A double: the real one is not on PyPI
in a version that keeps to the given endpoint for all services.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import boto3


def main(arguments: list[str] | None = None) -> None:
    """Do one of the two."""
    parser = argparse.ArgumentParser(prog="aws", description=__doc__)
    services = parser.add_subparsers(required=True)
    s3 = services.add_parser("s3").add_subparsers(required=True).add_parser("cp")
    s3.add_argument("source")
    s3.add_argument("target", type=Path)
    s3.add_argument("--quiet", action="store_true")
    s3.add_argument("--region")
    s3.set_defaults(act=_copy)
    get = services.add_parser("ssm").add_subparsers(required=True).add_parser("get-parameter")
    get.add_argument("--name", required=True)
    get.add_argument("--region")
    get.add_argument("--query", choices=["Parameter.Value"], required=True)
    get.add_argument("--output", choices=["text"], required=True)
    get.set_defaults(act=_get_parameter)
    parsed = parser.parse_args(arguments)
    parsed.act(parsed)


def _copy(parsed: argparse.Namespace) -> None:
    if not parsed.source.startswith("s3://"):
        sys.exit("aws: only copies from s3:// to a file are in the twin")
    bucket, _, key = parsed.source.removeprefix("s3://").partition("/")
    boto3.client("s3", region_name=parsed.region).download_file(bucket, key, str(parsed.target))


def _get_parameter(parsed: argparse.Namespace) -> None:
    found = boto3.client("ssm", region_name=parsed.region).get_parameter(Name=parsed.name)
    print(found["Parameter"]["Value"])


if __name__ == "__main__":
    main()
