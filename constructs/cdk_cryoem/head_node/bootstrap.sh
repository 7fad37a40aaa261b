#!/usr/bin/env bash
# Sets up the head node's own programs, from the folder it lies in. ParallelCluster runs it twice, as root:
#   bootstrap.sh install   SETUP.json   before Slurm starts (OnNodeStart): programs and settings
#   bootstrap.sh configure SETUP.json   when Slurm runs (OnNodeConfigured): Python packages, spool, units; starts cryoSPARC's
# Both may be run again at any time. SETUP.json holds names only; secrets are read where they are needed.
set -euo pipefail
umask 022 # the user slurm reads and runs what root installs

if (($# != 2)) || [[ ! -r $2 ]]; then
    echo "usage: bootstrap.sh install|configure SETUP.json" >&2
    exit 2
fi
phase=$1 setup=$2
home=${CRYOEM_HOME:-/opt/cryoem}
content=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
: "${AWS_REGION:?the region}" "${SETUP_PARAMETER:?the SSM parameter that SETUP.json comes from}"

user=
if [[ -r /etc/parallelcluster/cfnconfig ]]; then
    # shellcheck source=/dev/null
    . /etc/parallelcluster/cfnconfig
    user=${cfn_cluster_user:-}
fi

setting() { # its name, and what it is where the setup says nothing
    python3 -c 'import json, sys
found = json.load(open(sys.argv[1]))
print(found.get(sys.argv[2], sys.argv[3]) if sys.argv[3:] else found[sys.argv[2]])' "$setup" "$@"
}

replace() { # new folder, its place
    rm -rf "$2.before"
    [[ ! -e $2 ]] || mv "$2" "$2.before"
    mv "$1" "$2"
    rm -rf "$2.before"
}

use_python() { # a symbolic link to the python of a virtual environment would forget the environment
    printf '#!/bin/sh\nexec %q "$@"\n' "$1" >"$home/bin/.python"
    chmod 755 "$home/bin/.python"
    mv "$home/bin/.python" "$home/bin/python"
}

kept() { # a line of the settings that are there
    sed -n "s/^$1=//p" "$home/etc/head-node.env" 2>/dev/null || true
}

write_settings() { # the file
    # Here, because in the text below a failure would go unnoticed.
    local bus cluster manifest secret slurm url version license bucket worker records
    bus=$(setting event_bus)
    cluster=$(setting cluster)
    manifest=$(setting manifest_parameter)
    secret=$(setting cryosparc_secret)
    slurm=${CRYOEM_SLURM_BIN-$(setting slurm_bin /opt/slurm/bin)}
    user=${CRYOEM_USER-$(setting user "$user")}
    # Whoever installed cryoSPARC, install-cryosparc or somebody by hand, wrote its address into the settings.
    url=${CRYOEM_CRYOSPARC_URL:-$(kept CRYOSPARC_URL)}
    version=$(setting cryosparc_version none)
    license=$(setting cryosparc_license_secret none)
    bucket=$(setting results_bucket none)
    records=$(setting records_table none)
    worker=${CRYOEM_FSX:-/fsx}/software/cryosparc_worker/bin/cryosparcw
    # Where those put it who had to install it by hand.
    if [[ $version == none && -x /cryosparc/cryosparc_worker/bin/cryosparcw ]]; then
        worker=/cryosparc/cryosparc_worker/bin/cryosparcw
    fi
    cat >"$1" <<SETTINGS
CLUSTER=$cluster
EVENT_BUS=$bus
AWS_REGION=$AWS_REGION
MANIFEST_PARAMETER=$manifest
CRYOSPARC_SECRET=$secret
CRYOSPARC_URL=$url
CRYOSPARC_INSTALLED=$(kept CRYOSPARC_INSTALLED)
CRYOSPARC_VERSION=$version
CRYOSPARC_LICENSE_SECRET=$license
CRYOSPARC_FOLDER=${CRYOEM_CRYOSPARC_FOLDER:-/cryosparc}
CRYOSPARC_SERVER=${CRYOEM_CRYOSPARC_SERVER:-https://get.cryosparc.com}
CRYOSPARC_HOST=${CRYOEM_CRYOSPARC_HOST:-}
CRYOSPARC_PORT=${CRYOEM_CRYOSPARC_PORT:-61000}
RESULTS_BUCKET=$bucket
RECORDS_TABLE=$records
SETUP_PARAMETER=$SETUP_PARAMETER
NODE_POLL_SECONDS=${CRYOEM_NODE_POLL_SECONDS:-5}
CRYOSPARC_WORKER=${CRYOEM_CRYOSPARC_WORKER:-$worker}
FSX=${CRYOEM_FSX:-/fsx}
SCRATCH=${CRYOEM_SCRATCH:-/scratch}
SLURM_BIN=$slurm
PROCESSING_USER=$user
${CRYOEM_SLURM_CONF:+SLURM_CONF=$CRYOEM_SLURM_CONF}
SETTINGS
}

install_programs() {
    mkdir -p "$home"/{bin,etc,lanes,spool}
    local part program recipes
    draft=$(mktemp -d "$home/.install.XXXXXX")
    trap 'rm -rf "$draft"' EXIT

    # First all that may fail, so that a failure leaves everything as it was.
    recipes=$(setting recipes)
    if [[ $recipes != none ]]; then
        aws s3 cp --quiet --region "$AWS_REGION" "$recipes" "$draft/recipes.zip"
        python3 -m zipfile -e "$draft/recipes.zip" "$draft/recipes"
        chmod -R a+rX,go-w "$draft/recipes"
        find "$draft/recipes" -maxdepth 1 -type f -exec chmod 755 {} +
    fi
    write_settings "$draft/head-node.env"
    cp -r "$content" "$draft/program"
    chmod -R a+rX,go-w "$draft/program"
    chmod 755 "$draft"/program/bin/* "$draft"/program/recipes/*
    replace "$draft/program" "$home/program"
    for part in lib units requirements.txt; do ln -sfn "program/$part" "$home/$part"; done
    # Copies, because a program finds its home by its own place; each replaced at once, because it may be running.
    for program in "$home"/program/bin/*; do
        cp "$program" "$draft/copy"
        mv -f "$draft/copy" "$home/bin/${program##*/}"
    done
    use_python "${CRYOEM_PYTHON:-$(command -v python3)}"
    [[ ! -d $draft/recipes ]] || replace "$draft/recipes" "$home/recipes"
    mv "$draft/head-node.env" "$home/etc/head-node.env"
    chmod 755 "$home" "$home"/{bin,etc,lanes,spool}
    if id slurm >/dev/null 2>&1 && [[ $EUID == 0 ]]; then chown slurm "$home/spool"; fi
}

install_packages() {
    [[ -z ${CRYOEM_PYTHON:-} ]] || return 0 # a Python that has them was given
    # Beside the programs, because Ubuntu has pip but no venv; renamed at once, because a hook may be running.
    local draft
    draft=$(mktemp -d "$home/.packages.XXXXXX")
    python3 -m pip install --quiet --disable-pip-version-check --target "$draft/packages" -r "$home/requirements.txt"
    replace "$draft/packages" "$home/packages"
    chmod -R a+rX "$home/packages"
    rm -rf "$draft"
}

join_pcs() { # ParallelCluster has done all this on its own head nodes
    [[ $(setting pcs_cluster none) != none ]] || return 0
    if [[ $home != /opt/cryoem ]]; then
        echo "bootstrap: $home is no head node of PCS; volume, file system and sackd stay as they are"
        return 0
    fi
    bash "$home/program/join-pcs.sh" "$setup"
}

open_projects() { # everybody makes folders of their own there, like in /tmp
    local fsx
    fsx=$(sed -n 's/^FSX=//p' "$home/etc/head-node.env")
    [[ -d $fsx ]] || { echo "bootstrap: $fsx is not mounted" >&2; return 1; }
    [[ -d $fsx/projects ]] || mkdir "$fsx/projects"
    [[ $EUID != 0 ]] || chmod 1777 "$fsx/projects"
}

start_sender() {
    if [[ ! -d /run/systemd/system || $home != /opt/cryoem ]]; then
        echo "bootstrap: no systemd for $home; run $home/bin/send-events --stay"
        return 0
    fi
    cp -f "$home"/units/cryoem-send-events.* /etc/systemd/system/
    systemctl daemon-reload
    systemctl enable --now cryoem-send-events.path cryoem-send-events.timer
}

start_admission() { # with caps no job starts without it
    if [[ ! -d /run/systemd/system || $home != /opt/cryoem ]]; then
        echo "bootstrap: no systemd for $home; run $home/bin/admit-jobs --stay"
        return 0
    fi
    if [[ $(setting records_table none) == none ]]; then
        systemctl disable --now cryoem-admit-jobs.service 2>/dev/null || true
        [[ ! -d $home/caps ]] || "$home/bin/admit-jobs" --release-all
        return 0
    fi
    cp -f "$home"/units/cryoem-admit-jobs.service /etc/systemd/system/
    systemctl daemon-reload
    systemctl enable cryoem-admit-jobs.service
    systemctl restart cryoem-admit-jobs.service
}

start_cryosparc() { # it takes as long as it takes: nothing of it is waited for here
    [[ $(setting cryosparc_version none) != none ]] || return 0
    if [[ ! -d /run/systemd/system || $home != /opt/cryoem ]]; then
        echo "bootstrap: no systemd for $home; run $home/bin/install-cryosparc --stay"
        return 0
    fi
    cp -f "$home"/units/cryoem-cryosparc.service "$home"/units/cryoem-backup.* /etc/systemd/system/
    systemctl daemon-reload
    systemctl enable cryoem-cryosparc.service cryoem-backup.timer
    systemctl start --no-block cryoem-cryosparc.service cryoem-backup.timer
}

case $phase in
install) install_programs ;;
configure)
    [[ -x $home/bin/job-completion ]] || install_programs
    join_pcs
    install_packages
    open_projects
    start_sender
    start_admission
    start_cryosparc
    # Last: refresh-programs takes it for installed from here on.
    cp "$setup" "$home/etc/.setup.json"
    mv "$home/etc/.setup.json" "$home/etc/setup.json"
    ;;
*)
    echo "bootstrap: unknown phase '$phase', expected install or configure" >&2
    exit 2
    ;;
esac
echo "bootstrap: $phase done"
