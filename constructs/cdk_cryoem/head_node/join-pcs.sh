#!/usr/bin/env bash
# Makes this instance the head node of a PCS cluster: the data volume, the file system, and Slurm's credential daemon.
#   join-pcs.sh SETUP.json
# May be run again at any time; run after a new cluster was made, it joins that one. Slurm's key is never an argument.
set -euo pipefail
shopt -s inherit_errexit # what fails within $(...) fails here

if (($# != 1)) || [[ ! -r $1 ]]; then
    echo "usage: join-pcs.sh SETUP.json" >&2
    exit 2
fi
setup=$1
root=${CRYOEM_ROOT:-} # what plays / in tests
: "${AWS_REGION:?the region}"

setting() {
    python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$setup" "$1"
}

in_fstab() { # source, place, type, options: mounted now and on every boot
    local line="$1 $2 $3 $4 0 0" changed=
    mkdir -p "$root$2"
    if ! grep -qxF "$line" "$root/etc/fstab"; then
        # What was to be at this place before, if anything, is no more.
        { awk -v place="$2" '$2 != place' "$root/etc/fstab"; echo "$line"; } >"$root/etc/.fstab"
        chmod 644 "$root/etc/.fstab"
        mv "$root/etc/.fstab" "$root/etc/fstab"
        changed=yes
    fi
    if ! mountpoint -q "$root$2"; then
        mount "$root$2"
    elif [[ -n $changed ]]; then
        echo "join-pcs: $2 will be $1 when this instance has been stopped and started" >&2
    fi
}

attach_data_volume() { # prints its device
    local volume instance token device
    volume=$(setting data_volume)
    # The form in which EC2's NVMe volumes carry their id.
    device=$root/dev/disk/by-id/nvme-Amazon_Elastic_Block_Store_${volume/-/}
    if [[ ! -e $device ]]; then
        token=$(curl --silent --fail --request PUT http://169.254.169.254/latest/api/token \
            --header 'X-aws-ec2-metadata-token-ttl-seconds: 60')
        instance=$(curl --silent --fail --header "X-aws-ec2-metadata-token: $token" \
            http://169.254.169.254/latest/meta-data/instance-id)
        # While the head node before this one still has it, EC2 refuses; whoever started us tries again.
        aws ec2 attach-volume --region "$AWS_REGION" --volume-id "$volume" --instance-id "$instance" \
            --device /dev/sdf >/dev/null
        for _ in {1..60}; do
            [[ ! -e $device ]] || break
            sleep "${CRYOEM_POLL_SECONDS:-2}"
        done
    fi
    [[ -e $device ]] || { echo "join-pcs: $volume is attached, but $device is not there" >&2; return 1; }
    echo "$device"
}

mount_data_volume() {
    local device uuid
    device=$(attach_data_volume)
    local found=0
    blkid "$device" >/dev/null || found=$?
    case $found in
    0) ;;
    2) mkfs.xfs -q "$device" ;; # no file system on it, so it is new
    *)
        echo "join-pcs: blkid says $found of $device; it is left as it is" >&2
        return 1
        ;;
    esac
    uuid=$(blkid --match-tag UUID --output value "$device") || {
        echo "join-pcs: $device is neither empty nor a file system; it is left as it is" >&2
        return 1
    }
    in_fstab "UUID=$uuid" /cryosparc xfs defaults,nofail
}

lock_metadata() { # as ParallelCluster does on its head nodes: whoever is logged in must not have the instance's role
    cat >"$root/etc/systemd/system/cryoem-metadata.service" <<UNIT
[Unit]
Description=Let only root and $1 reach the instance metadata service
After=network-online.target
Wants=network-online.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/sbin/iptables -A OUTPUT -d 169.254.169.254/32 -m owner --uid-owner root -j ACCEPT
ExecStart=/usr/sbin/iptables -A OUTPUT -d 169.254.169.254/32 -m owner --uid-owner $1 -j ACCEPT
ExecStart=/usr/sbin/iptables -A OUTPUT -d 169.254.169.254/32 -j REJECT

[Install]
WantedBy=multi-user.target
UNIT
    systemctl daemon-reload
    systemctl enable --now cryoem-metadata
}

start_sackd() {
    local described address port secret bin cluster
    bin=$(setting slurm_bin)
    cluster=$(setting pcs_cluster)
    described=$(aws pcs get-cluster --region "$AWS_REGION" --cluster-identifier "$cluster" --output json)
    read -r address port secret < <(python3 -c 'import json, sys
cluster = json.load(sys.stdin)["cluster"]
end = next(e for e in cluster["endpoints"] if e["type"] == "SLURMCTLD")
print(end["privateIpAddress"], end["port"], cluster["slurmConfiguration"]["authKey"]["secretArn"])' <<<"$described")
    id slurm >/dev/null 2>&1 || useradd --system --uid 401 --user-group --no-create-home --shell /usr/sbin/nologin slurm
    mkdir -p "$root/etc/slurm"
    (
        umask 077
        aws secretsmanager get-secret-value --region "$AWS_REGION" --secret-id "$secret" \
            --query SecretString --output text | base64 --decode >"$root/etc/slurm/.slurm.key"
    )
    chown slurm:slurm "$root/etc/slurm/.slurm.key"
    chmod 600 "$root/etc/slurm/.slurm.key"
    mv "$root/etc/slurm/.slurm.key" "$root/etc/slurm/slurm.key"
    cat >"$root/etc/systemd/system/sackd.service" <<UNIT
[Unit]
Description=Slurm's credentials and configuration on the head node
Wants=network-online.target
After=network-online.target

[Service]
Type=notify
User=slurm
Group=slurm
RuntimeDirectory=slurm
RuntimeDirectoryMode=0755
ExecStart=${bin%/bin}/sbin/sackd --systemd --conf-server $address:$port
ExecReload=/bin/kill -HUP \$MAINPID
Restart=on-failure
KillMode=process

[Install]
WantedBy=multi-user.target
UNIT
    echo "PATH=$bin:\$PATH" >"$root/etc/profile.d/cryoem-slurm.sh"
    systemctl daemon-reload
    systemctl enable sackd
    systemctl restart sackd
}

lustre=$(setting lustre) # here, because in an argument a failure would go unnoticed
user=$(setting user)
mount_data_volume
in_fstab "$lustre" /fsx lustre relatime,flock,_netdev,x-systemd.automount,x-systemd.requires=network-online.target,nofail
start_sackd
lock_metadata "$user"
echo "join-pcs: done"
