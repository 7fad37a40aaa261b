"""Everything that is looked up in the account. Nothing is changed, and no secret is read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import boto3
from botocore.exceptions import BotoCoreError, ProfileNotFound

from ..config import Config
from . import (
    arns,
    certificate,
    identity,
    images,
    ingest,
    network,
    offerings,
    quotas,
    readers,
    reservations,
    second_copy,
    secrets,
    stacks,
    storage,
    zones,
)
from .ask import Clients, Unanswered, checked
from .check import Check, Group, error, warning
from .places import Site, instance_types, known_types

SKIPPED = (
    "no credentials: nothing was looked up in the account. Give some with AWS_PROFILE, `aws sso login` or "
    "AWS_ACCESS_KEY_ID, and run it again"
)
_AREAS: tuple[tuple[str, str, str, Callable[[Clients, Site], Iterable[Check]]], ...] = (
    ("deployment", "bootstrap", stacks.BOOTSTRAP, stacks.look),
    ("capacity", offerings.NAME, "head node and lanes", offerings.look),
    ("capacity", "quota", "all", quotas.look),
    ("capacity", reservations.NAME, "lanes", reservations.look),
    ("capacity", images.NAME, "head node and lanes", images.look),
    ("network", "network", "network", network.look),
    ("network", certificate.NAME, "web", certificate.look),
    ("data", storage.NAME, "all", storage.look),
    ("data", second_copy.NAME, "landing.replicate_to", second_copy.look),
    ("data", readers.NAME, "groups", readers.look),
    ("data", ingest.NAME, "microscopes", ingest.look),
    ("data", secrets.NAME, "all", secrets.look),
)
"""Group, check and subject for when it breaks off, and the module that looks."""


def session() -> boto3.Session | Check | None:
    """A session, if there are credentials at all; or what is wrong with the ones that are named."""
    mend = "aws configure list shows where they come from"
    try:
        found = boto3.Session()
        return found if found.get_credentials() is not None else None
    except ProfileNotFound as problem:
        return error(identity.NAME, "AWS_PROFILE", str(problem), "aws configure list-profiles")
    except BotoCoreError as problem:
        return error(identity.NAME, "credentials", str(problem), mend)


def look(clients: Clients, config: Config, *, region: str | None) -> Iterator[Group]:
    """Every group of checks. Ends after the first when the credentials are not of this account, or not good."""
    try:
        account, arn = identity.account_of(clients)
    except Unanswered as problem:
        if problem.for_now:
            refused = warning(identity.NAME, "credentials", str(problem), problem.fix)
        else:
            mend = f"aws sso login, or other credentials; is {config.region} enabled in the account?"
            refused = error(identity.NAME, "credentials", str(problem), mend)
        yield Group(title="account", checks=[refused])
        return
    known = list(identity.decide(config, account=account, arn=arn, region=region))
    if config.account is None:  # else it was said offline
        known += [check for check in arns.decide(config, account=account) if check.level == "error"]
    yield Group(title="account", checks=known)
    if config.account not in (None, account):
        return
    site, begun = _site(clients, Site(config=config, account=account, types=known_types(config)))
    found: dict[str, list[Check]] = {"deployment": begun}
    for title, name, subject, area in _AREAS:
        found.setdefault(title, []).extend(checked(name, subject, lambda area=area: area(clients, site)))  # type: ignore[misc]
    for title, checks in found.items():
        yield Group(title=title, checks=checks)


def _site(clients: Clients, site: Site) -> tuple[Site, list[Check]]:
    """What the other checks build on: stacks that are there, the zone, facts of the types."""
    said: list[Check] = []
    try:
        site = replace(site, stacks=stacks.deployed(clients, site.config))
    except Unanswered as problem:
        said.append(warning(stacks.NAME, "all", str(problem), problem.fix))
        site = replace(site, stacks=None)
    try:
        states = zones.zones(clients)
        own = site.output("storage", "FileSystemId")
        there = zones.file_system_zone(clients, own) if own else None
        named = site.config.network.availability_zone
        zone = named or there or zones.first_zone(clients, list(states))
        said += zones.decide(site.config, states=states, zone=zone, file_system=there)
        site = replace(site, zone=zone)
    except Unanswered as problem:
        said.append(warning(zones.NAME, "network.availability_zone", str(problem), problem.fix))
        site = replace(site, zone=site.config.network.availability_zone)
    try:
        site = replace(site, types={**site.types, **offerings.type_facts(clients, instance_types(site.config))})
    except Unanswered as problem:
        said.append(warning("instance types", "vCPUs", f"our own table is used; {problem}", problem.fix))
    return site, said
