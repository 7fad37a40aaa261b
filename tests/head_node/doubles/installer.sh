# A double of cryoSPARC's installers, which read their options, write config.sh and unpack what they brought with them.
# Version 5's install.sh sources this; version 4's is this. @kind@ and @version@ are filled in.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[[ $(basename "$root") != install ]] || root=$(dirname "$root")
[[ $0 == "$root/install.sh" ]] || { echo "called as $0"; exit 3; }
license= hostname= port= dbpath= yes=
while (($#)); do
    case $1 in
    --license) license=$2; shift ;;
    --hostname) hostname=$2; shift ;;
    --port) port=$2; shift ;;
    --dbpath) dbpath=$2; shift ;;
    --yes) yes=true ;;
    --nogpu) [[ @version@ == 5* && @kind@ == worker ]] || { echo "unknown option $1"; exit 2; } ;;
    *) echo "unknown option $1"; exit 2 ;;
    esac
    shift
done
((EUID)) || { echo "never as root"; exit 2; }
[[ $license =~ ^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$ ]] || { echo "no license"; exit 2; }
[[ @version@ == 5* || $license != 00000000-* ]] || { echo "License is not valid"; exit 2; }
[[ $yes ]] || read -r -p "Continue? "
echo "Installation Settings:"
echo "   License ID              : $license"
/usr/bin/python3 "$root/cryosparc.py" stage "install @kind@: begin"
[[ ! -e $root/half ]] || { echo "on top of a half installation"; exit 4; }
touch "$root/half"
{
    echo "export CRYOSPARC_LICENSE_ID=\"$license\""
    if [[ @kind@ == master ]]; then
        echo "export CRYOSPARC_MASTER_HOSTNAME=\"$hostname\""
        echo "export CRYOSPARC_DB_PATH=\"$dbpath\""
        echo "export CRYOSPARC_BASE_PORT=\"$port\""
        echo "export CRYOSPARC_DB_ENABLE_AUTH=true"
    fi
} >"$root/config.sh"
/usr/bin/python3 "$root/cryosparc.py" stage "install @kind@: config.sh"
"$root/bin/$([[ @kind@ == master ]] && echo cryosparcm || echo cryosparcw)" deps
rm "$root/half"
/usr/bin/python3 "$root/cryosparc.py" stage "install @kind@: end"
exit 0
