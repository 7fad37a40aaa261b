from cdk_cryoem_stacks.__main__ import main

main()
