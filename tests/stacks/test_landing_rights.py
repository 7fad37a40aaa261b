"""What each role of the system may do with the landing bucket: all of it, written down, so that none of it grows unseen.

A line that comes here by a change of yours is a right that you give: say in the change why.
"""

from __future__ import annotations

import json
import re
from functools import cache
from importlib import resources
from typing import Any

import pytest
from iam_simulator import ADMINISTRATOR, Principal, Request, Simulated
from simulated_systems import simulated

# Where in the bucket, by example.
_PLACES = {
    "bucket": "",
    "datasets": "/datasets/krios-1/movie.tiff",
    "receipts": "/datasets/krios-1.receipt.json",
    "datasync-reports": "/datasync-reports/r.json",
    "elsewhere": "/x/y",
}
# ROLE, WHERE: actions of S3. Beside those that are here, no role has any.
RIGHTS = """
HooksDatasetRole, bucket: listbucket
HooksSweeperRole, bucket: listbucket
LandingZoneReplicationRole, bucket: getreplicationconfiguration listbucket
LandingZoneReplicationRole, datasets receipts datasync-reports elsewhere: getobjectlegalhold getobjectretention getobjectversionacl getobjectversionforreplication getobjectversiontagging
MicroscopeBucketAccessRole, bucket: getbucketlocation listbucket listbucketmultipartuploads
MicroscopeBucketAccessRole, datasets receipts datasync-reports: abortmultipartupload getobject getobjecttagging getobjectversion listmultipartuploadparts putobject putobjecttagging
ReceiptsRole, bucket: listbucket listbucketversions
ReceiptsRole, datasets: getobjectversion
ReceiptsRole, datasync-reports: getobject
ReceiptsRole, receipts: getobject getobjectversion putobject
"""


@cache
def _actions() -> dict[str, list[str]]:
    """Every action of S3 with the kinds of resources it is of, as AWS lists them; cfn-lint ships the list."""
    listed = resources.files("cfnlint").joinpath("data/AdditionalSpecs/Policies.json").read_text()
    found: dict[str, Any] = json.loads(listed)["s3"]["Actions"]
    return {name: entry.get("Resources") or [] for name, entry in found.items()}


def rights(system: Simulated, role: Principal) -> dict[str, list[str]]:
    """What of S3 a role may do with movies, by the places where it may just that."""
    (bucket,) = (
        system.deployed.arn(stack, logical)
        for stack, logical, _ in system.deployed.of_type("AWS::S3::Bucket")
        if re.search(r"Landing[0-9A-F]{8}$", logical)
    )
    places: dict[tuple[str, ...], list[str]] = {}
    for place, suffix in _PLACES.items():
        kind = "object" if suffix else "bucket"
        asked = sorted(action for action, kinds in _actions().items() if kind in kinds)
        found = tuple(a for a in asked if system.allows(role, Request(f"s3:{a}", bucket + suffix)))
        places.setdefault(found, []).append(place)
    return {" ".join(where): list(actions) for actions, where in places.items() if actions}


@pytest.fixture(scope="module", params=["everything", "everything-on-pcs"])
def system(request: pytest.FixtureRequest) -> Simulated:
    return simulated(request.param)


def _short(name: str) -> str:
    """A role's logical id without its hash; every microscope's role is one."""
    return re.sub(r"[0-9A-F]{8}$", "", re.sub("^Microscope[a-z]+", "Microscope", name.partition("/")[2]))


def test_no_role_has_other_rights_over_movies_than_those_written_here(system: Simulated) -> None:
    found = {
        f"{_short(name)}, {place}: {' '.join(actions)}"
        for name, role in system.roles.items()
        for place, actions in rights(system, role).items()
    }
    assert sorted(found) == sorted(RIGHTS.strip().splitlines())


def test_the_list_of_actions_is_a_long_one(system: Simulated) -> None:
    """Else nothing would be asked above, and nothing found."""
    administrator = system.outsider("Administrator", ADMINISTRATOR)
    found = rights(system, administrator)
    assert len(found["bucket"]) > 30
    everywhere = set(found["datasets receipts datasync-reports elsewhere"])
    assert {"getobject", "getobjectversion", "putobject"} <= everywhere
    assert not {"deleteobject", "deleteobjectversion"} & everywhere
