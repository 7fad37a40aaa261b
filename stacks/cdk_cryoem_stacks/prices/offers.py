"""Which product of AWS's Price List is which item of the table, and which items it cannot be asked for.

Where the names are from (read in November 2026; nothing here was ever asked of AWS): S3, NAT, endpoints and EBS: infracost,
internal/resources/aws. FSx and addresses: daylily-ephemeral-cluster, daylily_ec/aws/idle_cost.py; EPAM's cloud-pipeline,
LustreFSPriceLoader. DataSync: AWSDataSync.csv of labofsahil/aws-pricing-dataset. Load balancers, keys, secrets, alarms: clarchy,
aws_prices.py. Archive Instant Access, Deep Archive's restores: the S3 user guide's list of usage types, infracost. Egress: AWSDataTransfer of
the same lists.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .table import on_demand_item


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What the Price List is asked: a service, and attributes that its products have. `REGION` stands for the region."""

    service: str
    filters: tuple[tuple[str, str], ...] = (("regionCode", "REGION"),)

    def of_region(self, region: str) -> list[dict[str, str]]:
        """The filters as the API takes them."""
        return [
            {"Type": "TERM_MATCH", "Field": name, "Value": region if value == "REGION" else value}
            for name, value in self.filters
        ]


@dataclass(frozen=True, kw_only=True, slots=True)
class Offer:
    """The product that an item is.

    questions: what is asked; of more than one, where sources differ on the service, the answers are taken together. usage: its usage
    types without the region's prefix; any when empty. equal: attributes it has. units: the units its price may have, any when not
    known. times: how many of AWS's units are one of the table's.
    """

    item: str
    questions: tuple[Question, ...]
    usage: frozenset[str] = frozenset()
    equal: Mapping[str, str] = field(default_factory=dict)
    units: frozenset[str] = frozenset()
    times: int = 1


def _offer(
    item: str, asked: Question | tuple[Question, ...], usage: str = "", unit: str = "", times: int = 1, **equal: str
) -> Offer:
    return Offer(
        item=item,
        questions=asked if isinstance(asked, tuple) else (asked,),
        usage=frozenset(usage.split()),
        equal=equal,
        units=frozenset([unit]) if unit else frozenset(),
        times=times,
    )


def _of(service: str, **filters: str) -> Question:
    return Question(service=service, filters=(("regionCode", "REGION"), *filters.items()))


_S3, _DEEP = _of("AmazonS3"), _of("AmazonS3GlacierDeepArchive")
_LUSTRE = _of("AmazonFSx", fileSystemType="Lustre", storageType="SSD")
_NAT = _of("AmazonEC2", productFamily="NAT Gateway")
_ENDPOINT = _of("AmazonVPC", productFamily="VpcEndpoint")
_BALANCER = _of("AWSELB", productFamily="Load Balancer-Application")
_DATASYNC = _of("AWSDataSync")

OFFERS = (
    _offer("s3:standard:gb-month", _S3, "TimedStorage-ByteHrs", "GB-Mo", volumeType="Standard"),
    _offer("s3:intelligent-tiering-frequent:gb-month", _S3, "TimedStorage-INT-FA-ByteHrs", "GB-Mo"),
    _offer("s3:intelligent-tiering-infrequent:gb-month", _S3, "TimedStorage-INT-IA-ByteHrs", "GB-Mo"),
    _offer("s3:intelligent-tiering-instant:gb-month", _S3, "TimedStorage-INT-AIA-ByteHrs", "GB-Mo"),
    _offer("s3:intelligent-tiering-monitoring:1000-objects-month", _S3, "Monitoring-Automation-INT", "Objects", 1000),
    _offer("s3:glacier-instant:gb-month", _S3, "TimedStorage-GIR-ByteHrs", "GB-Mo"),
    _offer("s3:put:1000-requests", _S3, "Requests-Tier1", "Requests", 1000),
    _offer("s3:get:1000-requests", _S3, "Requests-Tier2", "Requests", 1000),
    _offer(
        "s3:deep-archive-transition:1000-requests", _S3, "Requests-Tier3", "Requests", 1000, operation="S3-GDATransition"
    ),
    _offer("s3:deep-archive:gb-month", _DEEP, "TimedStorage-GDA-ByteHrs", "GB-Mo"),
    _offer("s3:restore-standard:gb", (_DEEP, _S3), "Standard-Retrieval-Bytes", "GB", operation="DeepArchiveRestoreObject"),
    _offer("s3:restore-standard:1000-requests", _DEEP, "Requests-GDA-Tier3", "Requests", 1000,
           operation="DeepArchiveRestoreObject"),
    _offer("s3:restore-bulk:gb", (_DEEP, _S3), "Bulk-Retrieval-Bytes", "GB", operation="DeepArchiveRestoreObject"),
    _offer("s3:restore-bulk:1000-requests", _DEEP, "Requests-GDA-Tier5", "Requests", 1000),
    _offer("fsx:scratch2:gb-month", _LUSTRE, unit="GB-Mo", throughputCapacity="N/A"),
    *(
        _offer(f"fsx:persistent2-{tier}:gb-month", _LUSTRE, unit="GB-Mo", throughputCapacity=tier)
        for tier in ("125", "250", "500", "1000")
    ),
    _offer("datasync:enhanced:gb", _DATASYNC, "Transferred-Bytes-Enhanced", "GB"),
    _offer("datasync:enhanced:execution", _DATASYNC, "Task-Executions-Enhanced", "Task-Executions"),
    _offer("nat:hour", _NAT, "NatGateway-Hours", "Hrs"),
    _offer("nat:gb", _NAT, "NatGateway-Bytes", "GB"),
    _offer("endpoint:hour", _ENDPOINT, "VpcEndpoint-Hours", "Hrs"),
    _offer("endpoint:gb", _ENDPOINT, "VpcEndpoint-Bytes", "GB"),
    _offer("ipv4:hour", _of("AmazonVPC", group="VPCPublicIPv4Address"), "PublicIPv4:InUseAddress", "Hrs"),
    _offer(
        "ebs:gp3:gb-month", _of("AmazonEC2", productFamily="Storage", volumeApiName="gp3"), "EBS:VolumeUsage.gp3", "GB-Mo"
    ),
    _offer("alb:hour", _BALANCER, "LoadBalancerUsage", "Hrs"),
    _offer("alb:lcu-hour", _BALANCER, "LCUUsage", "LCU-Hrs"),
    _offer(
        "egress:gb",
        Question(
            service="AWSDataTransfer", filters=(("fromRegionCode", "REGION"), ("transferType", "AWS Outbound"))
        ),
        "DataTransfer-Out-Bytes", "GB", toLocation="External",
    ),
    _offer("kms:key-month", _of("awskms"), "KMS-Keys"),
    _offer("secret:month", _of("AWSSecretsManager"), "AWSSecretsManager-Secrets AWSSecretsManager-Secret"),
    _offer("cloudwatch:alarm-month", _of("AmazonCloudWatch"), "CW:AlarmMonitorUsage"),
)  # fmt: skip

NOT_ASKED: Mapping[str, str] = {
    "datasync:basic:gb": "the usage type of Basic mode was found in no public document",
    "s3:tag:1000-tags-month": "which unit the Price List counts tags in was found in no public document",
    "transfer:region:gb": "it differs by the region it goes to",
    "pcs:small:hour": "PCS's products were found in no public document: aws.amazon.com/pcs/pricing has the price",
    "pcs:medium:hour": "as pcs:small:hour",
    "cloudwatch:metric-month": "the usage type was found in no public document",
    "cloudwatch:logs-delivered:gb": "the usage type was found in no public document",
}
"""Items that are kept as they are, and why. Type them into the file by hand."""


def instance_offer(instance_type: str) -> Offer:
    """An hour of an instance on demand, Linux, shared hardware, nothing installed."""
    question = _of(
        "AmazonEC2",
        instanceType=instance_type,
        operatingSystem="Linux",
        tenancy="Shared",
        preInstalledSw="NA",
        capacitystatus="Used",
    )
    return _offer(on_demand_item(instance_type), question, f"BoxUsage:{instance_type}", "Hrs")
