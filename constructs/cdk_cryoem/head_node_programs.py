"""What every head node gets, whichever engine it belongs to: its programs, its settings, and what it may do."""

from __future__ import annotations

from collections.abc import Mapping

from aws_cdk import Stack
from aws_cdk import aws_dynamodb as dynamodb
from aws_cdk import aws_events as events
from aws_cdk import aws_iam as iam
from aws_cdk import aws_s3 as s3
from aws_cdk import aws_s3_assets as s3_assets
from aws_cdk import aws_secretsmanager as secretsmanager
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from ._assets import NOT_SHIPPED, head_node_root
from .cryosparc import Cryosparc
from .landing_zone import BACKUPS_PREFIX, LISTINGS_PREFIX
from .lane_manifest import LaneManifest
from .records_table import grant_read_money

SHIPPED_RECIPES = ("cryosparc-live", "cryosparc-workflow", "relion-scheme")
"""Recipes that every head node has. One of the user's own with the same name goes before."""


class HeadNodePrograms(Construct):
    """The head node's scripts and recipes as assets, one setup parameter that names them, and a login for the hooks.

    cluster_name, event_bus, lane_manifest: what the scripts are told. recipes: a folder of processing recipes.
    cryosparc: what to install; default nothing. backup_bucket: where its database goes every night (`backups/`), and lists of
        the file system's files when they are asked for (`listings/`). Default: nowhere.
    records: the table of records; with it the head node keeps the caps of the manifest. Default: it has none to keep.
    settings: more entries of the setup parameter, of the engine.

    Costs: a secret (0.40 USD a month).
    """

    def __init__(
        self,
        scope: Construct,
        id: str,
        *,
        cluster_name: str,
        event_bus: events.IEventBus,
        lane_manifest: LaneManifest,
        recipes: str | None = None,
        cryosparc: Cryosparc | None = None,
        backup_bucket: s3.IBucket | None = None,
        records: dynamodb.ITable | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(scope, id)
        self._event_bus, self._lane_manifest = event_bus, lane_manifest
        self._cryosparc, self._records = cryosparc, records
        self.backup_bucket: s3.IBucket | None = backup_bucket
        self.cryosparc_login: secretsmanager.Secret = secretsmanager.Secret(
            self,
            "CryosparcLogin",
            description="The cryoSPARC user that registers lanes and starts processing",
            generate_secret_string=secretsmanager.SecretStringGenerator(
                secret_string_template='{"email":"hooks@cryoem.invalid"}',
                generate_string_key="password",
                exclude_punctuation=True,
                password_length=40,
            ),
        )
        self.scripts: s3_assets.Asset = s3_assets.Asset(
            self, "Scripts", path=str(head_node_root()), exclude=NOT_SHIPPED
        )
        self.trampoline: s3_assets.Asset = s3_assets.Asset(
            self, "Trampoline", path=str(head_node_root() / "trampoline.sh")
        )
        self.recipes: s3_assets.Asset | None = (
            s3_assets.Asset(self, "Recipes", path=recipes, exclude=NOT_SHIPPED) if recipes else None
        )
        self.setup: ssm.StringParameter = ssm.StringParameter(
            self,
            "Setup",
            description="What the head node's trampoline script installs, and the names it is told",
            string_value=Stack.of(self).to_json_string(
                {
                    "scripts": self.scripts.s3_object_url,
                    "recipes": self.recipes.s3_object_url if self.recipes else "none",
                    "cluster": cluster_name,
                    "event_bus": event_bus.event_bus_name,
                    "manifest_parameter": lane_manifest.parameter_name,
                    "cryosparc_secret": self.cryosparc_login.secret_arn,
                    "cryosparc_version": cryosparc.version if cryosparc else "none",
                    "cryosparc_license_secret": cryosparc.license.secret_arn if cryosparc else "none",
                    "results_bucket": backup_bucket.bucket_name if backup_bucket else "none",
                    **({"records_table": records.table_name} if records else {}),
                    **(settings or {}),
                }
            ),
        )

    @property
    def with_cryosparc(self) -> bool:
        """Whether cryoSPARC is installed, and its database backed up."""
        return self._cryosparc is not None

    def grant_use(self, grantee: iam.IGrantable) -> None:
        """Let grantee be the head node: send job events, read its scripts, its secrets and what was spent, write backups and listings."""
        objects = [
            asset.bucket.arn_for_objects(asset.s3_object_key)
            for asset in (self.scripts, self.trampoline, self.recipes)
            if asset is not None
        ]
        parameters = [self._lane_manifest.parameter.parameter_arn, self.setup.parameter_arn]
        for actions, resources in (
            (["events:PutEvents"], [self._event_bus.event_bus_arn]),
            (["ssm:GetParameter"], parameters),
            (["s3:GetObject"], objects),
        ):
            iam.Grant.add_to_principal(grantee=grantee, actions=actions, resource_arns=resources)
        self.cryosparc_login.grant_read(grantee)
        if self._records is not None:
            grant_read_money(self._records, grantee)
        if self._cryosparc is not None:
            self._cryosparc.license.grant_read(grantee)
        if self.backup_bucket is not None:
            self._grant_bucket(grantee, self.backup_bucket)

    def _grant_bucket(self, grantee: iam.IGrantable, bucket: s3.IBucket) -> None:
        iam.Grant.add_to_principal(
            grantee=grantee,
            actions=["s3:PutObject", "s3:AbortMultipartUpload"],
            resource_arns=[bucket.arn_for_objects(f"{LISTINGS_PREFIX}*")],
        )
        if bucket.encryption_key is not None:
            bucket.encryption_key.grant(grantee, "kms:Decrypt", "kms:GenerateDataKey")
        if self._cryosparc is None:
            return
        # Not the bucket's own grants, which would let the head node list everything in it.
        iam.Grant.add_to_principal(
            grantee=grantee,
            actions=["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload"],
            resource_arns=[bucket.arn_for_objects(f"{BACKUPS_PREFIX}*")],
        )
        grantee.grant_principal.add_to_principal_policy(
            iam.PolicyStatement(
                actions=["s3:ListBucket"],
                resources=[bucket.bucket_arn],
                conditions={"StringLike": {"s3:prefix": [f"{BACKUPS_PREFIX}*"]}},
            )
        )
