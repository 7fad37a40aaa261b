"""What each role of the system may do with the landing bucket: all of it, written down, so that none of it grows unseen.

A line that comes here by a change of yours is a right that you give: say in the change why.
"""

from __future__ import annotations

import json
import re
from importlib import resources
from typing import Any

import pytest
from iam_simulator import ADMINISTRATOR, Principal, Request, Simulated
from simulated_systems import simulated

# Where in the bucket, by example.
_PLACES = {
    "the bucket": "",
    "datasets": "/datasets/krios-1/movie.tiff",
    "datasync-reports": "/datasync-reports/r.json",
    "elsewhere": "/x/y",
}
# ROLE, WHERE: actions of S3. Beside those that are here, no role has any.
RIGHTS = """
HooksDatasetRole, the bucket: listbucket
HooksSweeperRole, the bucket: listbucket
MicroscopekriosBucketAccessRole, the bucket: getbucketlocation listbucket listbucketmultipartuploads
MicroscopekriosBucketAccessRole, datasets: abortmultipartupload getobject getobjecttagging getobjectversion listmultipartuploadparts putobject putobjecttagging
MicroscopekriosBucketAccessRole, datasync-reports: abortmultipartupload getobject getobjecttagging getobjectversion listmultipartuploadparts putobject putobjecttagging
"""


def _actions() -> dict[str, list[str]]:
    """Every action of S3 with the kinds of resources it is of, as AWS lists them; cfn-lint ships the list."""
    listed = resources.files("cfnlint").joinpath("data/AdditionalSpecs/Policies.json").read_text()
    found: dict[str, Any] = json.loads(listed)["s3"]["Actions"]
    return {name: entry.get("Resources") or [] for name, entry in found.items()}


def rights(system: Simulated, role: Principal) -> dict[str, list[str]]:
    """What of S3 a role may do with movies, by place."""
    (bucket,) = (
        system.deployed.arn(stack, logical)
        for stack, logical, _ in system.deployed.of_type("AWS::S3::Bucket")
        if re.search(r"Landing[0-9A-F]{8}$", logical)
    )
    found = {
        place: sorted(
            action
            for action, kinds in _actions().items()
            if ("object" in kinds if suffix else "bucket" in kinds)
            and system.allows(role, Request(f"s3:{action}", bucket + suffix))
        )
        for place, suffix in _PLACES.items()
    }
    return {place: actions for place, actions in found.items() if actions}


@pytest.fixture(scope="module", params=["everything", "everything-on-pcs"])
def system(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    return simulated(request.param, tmp_path_factory.mktemp(request.param))


def test_no_role_has_other_rights_over_movies_than_those_written_here(system: Simulated) -> None:
    found = [
        f"{re.sub(r'[0-9A-F]{8}$', '', name.partition('/')[2])}, {place}: {' '.join(actions)}"
        for name, role in system.roles.items()
        for place, actions in rights(system, role).items()
    ]
    assert sorted(found) == sorted(RIGHTS.strip().splitlines())


def test_the_list_of_actions_is_a_long_one(system: Simulated) -> None:
    """Else nothing would be asked above, and nothing found."""
    administrator = system.outsider("Administrator", ADMINISTRATOR)
    found = rights(system, administrator)
    assert len(found["the bucket"]) > 30
    assert {"getobject", "getobjectversion", "putobject"} <= set(found["datasets"])
    assert not {"deleteobject", "deleteobjectversion"} & set(found["datasets"])
