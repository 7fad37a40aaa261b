"""What a changed configuration does to a deployed system, known before the deployment (`cryoem diff`).

`changes` is pure and imports neither the CDK nor boto3.
"""

from .effect import Change, Effect
from .parallel_cluster import changes

__all__ = ["Change", "Effect", "changes"]
