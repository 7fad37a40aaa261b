"""The certificate of section `web`: whether a load balancer can show it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from .arns import is_elsewhere
from .ask import Clients, find
from .check import Check, error, ok, warning
from .places import Site

NAME = "certificate"
_SUBJECT = "web.certificate_arn"
_SOON_DAYS = 30


def look(clients: Clients, site: Site) -> Iterator[Check]:
    """The certificate that the file names."""
    web = site.config.web
    if web is None or is_elsewhere(web.certificate_arn, region=site.region, account=site.account):
        return  # the second was said offline
    answer = find(
        "acm:DescribeCertificate",
        lambda: clients.acm.describe_certificate(CertificateArn=web.certificate_arn),
        missing=("ResourceNotFoundException",),
    )
    yield decide(web.certificate_arn, answer["Certificate"] if answer else None, now=datetime.now(UTC))


def decide(arn: str, found: Any, *, now: datetime) -> Check:
    """Whether it is issued, and for how long. found: ACM's description, None when there is none."""
    region, name = arn.split(":")[3], arn.rpartition("/")[2]
    if found is None:
        mend = f"aws acm list-certificates --region {region}"
        return error(NAME, _SUBJECT, f"there is no certificate {name} in {region}", mend)
    domain = found.get("DomainName", "")
    if found["Status"] != "ISSUED":
        reason = f"the certificate for {domain} is {found['Status']}: no load balancer can be made with it"
        mend = f"aws acm describe-certificate --certificate-arn {arn} --region {region}"
        if found["Status"] == "PENDING_VALIDATION":
            mend += "; put the records that it names into the domain's DNS, and wait"
        return error(NAME, _SUBJECT, reason, mend)
    ends = found.get("NotAfter")
    if ends is not None and found.get("RenewalEligibility") == "INELIGIBLE" and (ends - now).days < _SOON_DAYS:
        reason = f"the certificate for {domain} ends on {ends:%Y-%m-%d}, and ACM does not renew it"
        return warning(NAME, _SUBJECT, reason, f"aws acm import-certificate --certificate-arn {arn} --region {region}")
    return ok(NAME, _SUBJECT, f"for {domain}, issued")
