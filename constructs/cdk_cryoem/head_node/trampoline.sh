#!/usr/bin/env bash
# The script that ParallelCluster's configuration names. It never changes: ParallelCluster cannot update a cluster whose
# head node script or its arguments differ, so everything that may change is behind one SSM parameter.
set -euo pipefail
phase=$1 parameter=$2

region=${AWS_REGION:-}
if [[ -r /etc/parallelcluster/cfnconfig ]]; then
    # shellcheck source=/dev/null
    . /etc/parallelcluster/cfnconfig
    region=${region:-${cfn_region:-}}
fi
[[ -n $region ]] || { echo "trampoline: no region in AWS_REGION or /etc/parallelcluster/cfnconfig" >&2; exit 1; }

draft=$(mktemp -d)
trap 'rm -rf "$draft"' EXIT
aws ssm get-parameter --region "$region" --name "$parameter" --query Parameter.Value --output text >"$draft/setup.json"
scripts=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["scripts"])' "$draft/setup.json")
aws s3 cp --quiet --region "$region" "$scripts" "$draft/scripts.zip"
python3 -m zipfile -e "$draft/scripts.zip" "$draft/scripts"
AWS_REGION=$region SETUP_PARAMETER=$parameter bash "$draft/scripts/bootstrap.sh" "$phase" "$draft/setup.json"
