"""The roles that read as a group: S3 refuses a bucket policy that names one which is not there."""

from __future__ import annotations

from collections.abc import Iterator

from .ask import Clients, checked, find
from .check import Check, error, ok
from .places import Site

NAME = "reader role"


def look(clients: Clients, site: Site) -> Iterator[Check]:
    """Every role of every group."""
    for number, group in enumerate(site.config.groups):
        for index, arn in enumerate(group.reader_role_arns):
            subject = f"groups[{number}].reader_role_arns[{index}]"

            def there(subject: str = subject, arn: str = arn) -> Iterator[Check]:
                name = arn.rpartition("/")[2]
                answer = find("iam:GetRole", lambda: clients.iam.get_role(RoleName=name), missing=("NoSuchEntity",))
                yield decide(subject, arn, answer["Role"]["Arn"] if answer else None, account=site.account)

            yield from checked(NAME, subject, there)


def decide(subject: str, arn: str, found: str | None, *, account: str) -> Check:
    """Whether a role is there. found: the ARN of the role of that name, None when there is none."""
    owner, name = arn.split(":")[4], arn.rpartition("/")[2]
    if owner != account:
        return error(NAME, subject, f"{arn} is of another account than the system's, {account}", "Name one of its own")
    if found is None:
        reason = f"there is no role {name}: S3 refuses a bucket policy that names it, and the deployment fails"
        return error(NAME, subject, reason, f"aws iam list-roles --query 'Roles[].Arn' | grep {name[:12]}")
    if found != arn:
        return error(NAME, subject, f"the role {name} is {found}, not {arn}", "Write its ARN with its path")
    return ok(NAME, subject, f"{name} is there")
