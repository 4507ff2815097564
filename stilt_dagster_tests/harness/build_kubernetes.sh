#!/bin/bash
# The Kubernetes 1.20 servers the tests talk to, compiled from the distribution's source package.
#
#   build_kubernetes.sh [DIRECTORY]
#
# DIRECTORY, ~/.cache/kubernetes-1.20 unless named, holds kube-apiserver, kube-controller-manager and kube-scheduler
# afterwards; where it already does, nothing happens. Prints the directory. Several minutes, Debian 12, root.
# Ends with one line and code 2 where it cannot be done.
set -euo pipefail

readonly version=1.20.2
readonly servers=(kube-apiserver kube-controller-manager kube-scheduler)
readonly target=${1:-${HOME:?}/.cache/kubernetes-1.20}

cannot() {
  echo "cannot build Kubernetes: $*" >&2
  exit 2
}

is_built() {
  local server
  for server in "${servers[@]}"; do [[ -x $target/$server ]] || return 1; done
}

# Runs a command, its output kept for the one line that says why it failed.
quietly() {
  local what=$1
  shift
  "$@" >"$work/output" 2>&1 || cannot "$what: $(grep -v '^$' "$work/output" | tail -n 1)"
}

# Prints deb-src forms of the machine's own Debian repositories.
one_line_sources() {
  local file
  for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
    [[ -f $file ]] && sed -n 's/^deb \(.*debian.*\)/deb-src \1/p' "$file"
  done
  return 0
}

copy_deb822_sources() {
  local file
  for file in /etc/apt/sources.list.d/*.sources; do
    if [[ -f $file ]] && grep -q debian-archive-keyring "$file"; then
      sed 's/^Types:.*/Types: deb-src/' "$file" >"$1/${file##*/}"
    fi
  done
}

if is_built; then
  echo "$target"
  exit
fi
command -v apt-get >/dev/null || cannot "there is no apt-get; it is built from a Debian source package"
((EUID == 0)) || cannot "apt-get needs root"

mkdir -p "$target"
exec 9>"$target/.lock"
flock 9 # one build a machine; who waited finds it done
if is_built; then
  echo "$target"
  exit
fi

work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT

echo "building Kubernetes $version into $target, once; this takes some minutes" >&2
export DEBIAN_FRONTEND=noninteractive
quietly "apt-get update" apt-get -qq update -o APT::Update::Error-Mode=any
quietly "compiler" apt-get -qq install -y --no-install-recommends golang-1.19-go dpkg-dev make rsync jq

# Sources are listed apart, so that the machine's own lists stay as they are.
mkdir -p "$work/sources.d" "$work/lists/partial" "$work/archives/partial"
one_line_sources >"$work/sources.list"
copy_deb822_sources "$work/sources.d"
apart=(
  -o "Dir::Etc::sourcelist=$work/sources.list"
  -o "Dir::Etc::sourceparts=$work/sources.d"
  -o "Dir::State::Lists=$work/lists"
  -o "Dir::Cache=$work/archives"
  -o APT::Sandbox::User=root
  -o APT::Update::Error-Mode=any
)
cd "$work"
quietly "list of source packages" apt-get -qq "${apart[@]}" update
quietly "source package" apt-get -qq "${apart[@]}" source kubernetes

# Vendored dependencies are all in the package; the build looks for itself below a GOPATH.
cd "$work"/kubernetes-*"$version"*/ 2>/dev/null || cannot "the source package is not of version $version"
mkdir -p .go/src/k8s.io
ln -s ../../.. .go/src/k8s.io/kubernetes
cd .go/src/k8s.io/kubernetes
cat >"$work/version" <<END
KUBE_GIT_COMMIT=unknown
KUBE_GIT_TREE_STATE=clean
KUBE_GIT_VERSION=v$version
KUBE_GIT_MAJOR=1
KUBE_GIT_MINOR=20
END
export PATH=/usr/lib/go-1.19/bin:$PATH
export GOPATH=$work/gopath GOCACHE=$work/gocache GO111MODULE=off GOPROXY=off CGO_ENABLED=0
export KUBE_GIT_VERSION_FILE=$work/version
quietly "compilation" make WHAT="$(printf 'cmd/%s ' "${servers[@]}")"

for server in "${servers[@]}"; do
  install -m 755 "_output/local/bin/linux/$(go env GOARCH)/$server" "$target/.$server"
  mv "$target/.$server" "$target/$server" # whole or not at all
done
echo "$target"
