"""Only the storage, in a network of your own: movies land in a bucket and show up on a Lustre file system."""

from aws_cdk import App, CfnOutput, Size, Stack
from aws_cdk import aws_ec2 as ec2

from cdk_cryoem import LandingZone, LustreStore

app = App()
stack = Stack(app, "own-vpc")
vpc = ec2.Vpc(stack, "Vpc", max_azs=1)

landing_zone = LandingZone(stack, "LandingZone")
file_system = LustreStore(
    stack,
    "FileSystem",
    vpc=vpc,
    subnet=vpc.private_subnets[0],
    landing_bucket=landing_zone.landing_bucket,
    results_bucket=landing_zone.results_bucket,
    capacity=Size.gibibytes(4800),
    key=landing_zone.key,
)
CfnOutput(stack, "LandingBucket", value=landing_zone.landing_bucket.bucket_name)
CfnOutput(stack, "FileSystemId", value=file_system.file_system_id)
app.synth()
