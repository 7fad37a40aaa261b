"""Run the emulator with everything the twin adds."""

from . import budgets, datasync, ec2, extension, fsx, recorded, ssm_documents

for module in (budgets, datasync, ec2, fsx, ssm_documents):
    module.register()
recorded.register("AWS::EC2::FlowLog")
extension.mend()
extension.serve()
