"""The whole system in one stack, with two lanes, one microscope and a budget."""

from aws_cdk import App, CfnOutput, Stack

from cdk_cryoem import CryoEmPlatform, Lane, Microscope, MonthlyBudget, NfsShare, PrivateNetwork

app = App()
stack = Stack(app, "one-stack")
platform = CryoEmPlatform(
    stack,
    "CryoEm",
    vpc=PrivateNetwork(stack, "Network").vpc,
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
MonthlyBudget(stack, "Budget", limit_usd=5000, emails=["em@example.org"])
CfnOutput(stack, "HeadNode", value=platform.engine.head_node_instance_id)
app.synth()
