"""A pack of checks for cdk-nag 3 that knows FSx for Lustre, DataSync, PCS and the way of a movie.

Needs cdk-nag, which the library does not depend on: `pip install cdk-cryoem[checks]`. Nothing else imports this package.
"""

from .pack import PACK, RULES, CryoEmChecks
from .rule import Finding, Rule
from .templates import Resource, Templates

__all__ = ["PACK", "RULES", "CryoEmChecks", "Finding", "Resource", "Rule", "Templates"]
