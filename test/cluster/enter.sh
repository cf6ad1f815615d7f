#!/bin/sh
# Runs a command (or a shell) where a cluster of `npm run cluster` is: sh test/cluster/enter.sh PID [COMMAND…]
# PID is that program's; it prints it. The cluster is inside: PID ── unshare ── the enclosure's first process.
set -eu
[ $# -gt 0 ] || {
  echo 'Cannot enter: say which cluster, by the process id that "npm run cluster" printed' >&2
  exit 2
}
child() {
  [ -e "/proc/$1" ] || {
    echo "Cannot enter: process $1 has ended" >&2
    exit 1
  }
  pid=$(cat "/proc/$1/task/$1/children")
  echo "${pid%% *}"
}
inside=$(child "$(child "$1")")
shift
[ $# -gt 0 ] || set -- sh
exec nsenter --target "$inside" --net --mount --pid env "PATH=/run/lab/bin:/usr/sbin:/usr/bin:/sbin:/bin" "$@"
