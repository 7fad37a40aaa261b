"""`systemctl`, as far as the head node's user data uses it: a double, because this machine's own is not the head node's.

`enable --now UNIT` runs the unit's program and waits for its end. `poweroff` does what a machine does that switches itself
off: EC2 finds the instance stopped.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import boto3

from . import head
from .cluster import Cluster
from .environment import Mode, client_environment
from .places import Places, places


def units(places: Places) -> Path:
    """Where the head node's units are."""
    return Path(head.root(places)) / "etc" / "systemd" / "system"


def power_off(places: Places) -> None:
    """Stop the head node as its own machine would, not with the rights of its role."""
    cluster = Cluster.load(places)
    os.environ.pop("AWS_SESSION_TOKEN", None)
    os.environ.update(client_environment(places, Mode.load(places)))
    boto3.client("ec2").stop_instances(InstanceIds=[cluster.instance_id])


def main() -> None:
    """Do it; anything else is refused."""
    given = sys.argv[1:]
    if given == ["daemon-reload"]:
        return
    if given == ["poweroff", "--no-block"]:
        power_off(places())
        return
    if given[:2] != ["enable", "--now"] or len(given) != 3:
        sys.exit(f"systemctl: {' '.join(given)} is not in the twin")
    text = (units(places()) / given[2]).read_text()
    (command,) = re.findall(r"^ExecStart=(.+)$", text, re.MULTILINE)
    sys.exit(subprocess.run(shlex.split(command), check=False).returncode)


if __name__ == "__main__":
    main()
