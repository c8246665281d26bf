#!/bin/bash
# start.sh SHARE CGROUP COMMAND...: runs boot.sh in namespaces of its own. It enters a control group of its own first: systemd would move
# every process that stands beside it.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
share=$1
cgroup=$2
shift 2
mkdir "$cgroup"
echo $$ >"$cgroup/cgroup.procs"
exec unshare --cgroup --mount --pid --fork --uts --ipc --propagation private --kill-child "$here/boot.sh" "$share" "$@"
