"""The checks on a stack of your own: what they would say of this task is right but for one rule, which is answered."""

from aws_cdk import Acknowledgment, App, Stack, Validations
from aws_cdk import aws_datasync as datasync

from cdk_cryoem.checks import CryoEmChecks

LOCATION = "arn:aws:datasync:us-east-1:111122223333:location/loc-0123456789abcdef"

app = App()
stack = Stack(app, "checks")
thumbnails = datasync.CfnTask(
    stack,
    "Thumbnails",
    source_location_arn=f"{LOCATION}0",
    destination_location_arn=f"{LOCATION}1",
    # With NONE, or with REMOVE, the synthesis fails.
    options=datasync.CfnTask.OptionsProperty(verify_mode="ONLY_FILES_TRANSFERRED", preserve_deleted_files="PRESERVE"),
)
Validations.of(thumbnails).acknowledge(
    Acknowledgment(
        id="CryoEmChecks::CryoEmChecks-DataSyncReports",
        reason="Thumbnails can be made again from the movies, which come by a task of their own with a report",
    )
)
Validations.of(app).add_plugins(CryoEmChecks(app))
app.synth()
