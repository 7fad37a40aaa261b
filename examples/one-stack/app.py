"""The whole system in one stack, with two lanes and one microscope."""

from aws_cdk import App, CfnOutput, Stack
from aws_cdk import aws_ec2 as ec2

from cdk_cryoem import CryoEmPlatform, Lane, Microscope, NfsShare

app = App()
stack = Stack(app, "one-stack")
platform = CryoEmPlatform(
    stack,
    "CryoEm",
    vpc=ec2.Vpc(stack, "Vpc", max_azs=1),
    lanes=[
        Lane(name="cpu", instance_types=["m6i.8xlarge", "m7i.8xlarge"]),
        Lane(name="gpu4", instance_types=["g5.12xlarge", "g6e.12xlarge"], gpus=4, max_nodes=2),
    ],
    microscopes={
        "krios": Microscope(
            share=NfsShare(host="10.0.0.5", path="/krios"),
            agent_arn="arn:aws:datasync:us-east-1:111122223333:agent/agent-0123456789abcdef0",
        )
    },
)
CfnOutput(stack, "HeadNode", value=platform.engine.head_node_instance_id)
app.synth()
