"""Run the emulator with everything the twin adds."""

from . import answers, budgets, datasync, ec2, ec2_instance, extension, fsx, pcs, recorded, ssm_documents

for module in (budgets, datasync, ec2, ec2_instance, fsx, pcs, ssm_documents):
    module.register()
recorded.register("AWS::EC2::FlowLog")
extension.mend()
answers.register()
extension.serve()
