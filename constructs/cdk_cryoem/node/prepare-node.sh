#!/usr/bin/env bash
# The last thing a compute node does before it takes jobs: local disk as scratch, the file system, and its GPUs counted.
#   prepare-node.sh GPUS SCRATCH [LUSTRE]
# GPUS: how many the node must have. SCRATCH: where its local disk is to be, or none.
# LUSTRE: host@tcp:/name of the file system, where the engine mounts none (PCS). ParallelCluster mounts disk and file system
# itself. A node that fails here is replaced before any job has seen it, which costs less than a job that dies on it.
set -euo pipefail

if (($# < 2 || $# > 3)); then
    echo "usage: prepare-node.sh GPUS SCRATCH [LUSTRE]" >&2
    exit 2
fi
gpus=$1 scratch=$2 lustre=${3:-}
dlami=${CRYOEM_DLAMI_SCRATCH:-/opt/dlami/nvme} # where AWS's deep-learning images mount the local disks by themselves
fsx=${CRYOEM_FSX:-/fsx}
root=${CRYOEM_ROOT:-} # what plays / in tests

make_scratch() {
    mkdir -p "$scratch"
    if mountpoint -q "$scratch"; then return 0; fi
    # It may be at it still; where there is no such unit, the disks are free.
    systemctl start dlami-nvme.service 2>/dev/null || true
    if mountpoint -q "$dlami"; then
        mount --bind "$dlami" "$scratch"
        return 0
    fi
    local disks=()
    mapfile -t disks < <(lsblk --nodeps --noheadings --paths --output NAME,MODEL |
        sed -n 's/^\([^ ]*\) *Amazon EC2 NVMe Instance Storage.*/\1/p')
    case ${#disks[@]} in
    0)
        echo "prepare-node: no local disk for $scratch" >&2
        return 1
        ;;
    1) device=${disks[0]} ;;
    *)
        device=/dev/md/scratch
        mdadm --create "$device" --run --level=0 --raid-devices="${#disks[@]}" "${disks[@]}"
        ;;
    esac
    mkfs.xfs -q -f "$device"
    mount -o noatime "$device" "$scratch"
}

mount_lustre() {
    mkdir -p "$fsx"
    local try
    for try in 1 2 3 4 5 6; do # a node that gives up is replaced by one that meets the same network
        if mountpoint -q "$fsx" || mount -t lustre -o relatime,flock "$lustre" "$fsx"; then return 0; fi
        echo "prepare-node: $lustre cannot be mounted yet (try $try of 6)" >&2
        sleep "${CRYOEM_RETRY_SECONDS:-10}"
    done
    return 1
}

keep_slurmd() { # Ubuntu's automatic updates would restart it, and with it end every job on the node
    mkdir -p "$root/etc/needrestart/conf.d"
    # shellcheck disable=SC2016  # Perl's dollar, not the shell's
    echo '$nrconf{override_rc}{qr(^slurmd)} = 0;' >"$root/etc/needrestart/conf.d/90-slurm.conf"
}

count_gpus() {
    local found
    # As text: a card that fell off the bus is in no list but in the error output, and the exit code is 0.
    found=$(nvidia-smi --query-gpu=uuid --format=csv,noheader | grep -c '^GPU-' || true)
    if ((found != gpus)); then
        echo "prepare-node: $found of $gpus GPUs answer" >&2
        return 1
    fi
}

if [[ -n $lustre ]]; then
    keep_slurmd
    [[ $scratch == none ]] || make_scratch
    mount_lustre
fi
if [[ $scratch != none ]]; then
    mountpoint -q "$scratch" || { echo "prepare-node: $scratch is not mounted" >&2; exit 1; }
    # Jobs of all users put their particles there.
    mkdir -p "$scratch/cryosparc-cache"
    chmod 1777 "$scratch" "$scratch/cryosparc-cache"
fi
((gpus == 0)) || count_gpus
echo "prepare-node: ready with $gpus GPUs, scratch $scratch"
