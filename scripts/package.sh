#!/usr/bin/env bash
# Builds the packages of Debian and of Red Hat, for the architectures that are named (default: amd64 arm64), into
# build/package. The same commit gives the same packages, byte for byte, wherever it is built with the same Go.
#
#   package.sh [ARCHITECTURE...]
#
# VERSION is what they are called (default: the tag of the commit, else the next version and the commit's time and name);
# PACKAGE_DIR is where they go, GO_BINARY a holdfast that is built already (for one architecture; tests have one).
set -euo pipefail
cd "$(dirname "$0")/.."

nfpm=github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2
out=${PACKAGE_DIR:-build/package}
export MAINTAINER=${MAINTAINER:-"Holdfast <holdfast@localhost>"}

# What is packed has the time of the commit.
if commit=$(git rev-parse --short=10 HEAD 2>/dev/null); then
  SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
  tag=$(git describe --tags --exact-match --match 'v[0-9]*' 2>/dev/null) || tag=
else
  commit=unknown tag=
  SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(date -r go.mod +%s)}
fi
export SOURCE_DATE_EPOCH
next=$(sed -n 's/^var Version = "\(.*\)"$/\1/p' app/*.go)
export VERSION=${VERSION:-${tag:+${tag#v}}}
VERSION=${VERSION:-$next+$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y%m%d%H%M%S).$commit}

# compile builds the program of an architecture.
compile() {
  CGO_ENABLED=0 GOOS=linux GOARCH=$1 go build -trimpath -buildvcs=false -o "$2" \
    -ldflags "-s -w -X holdfast/app.Version=$VERSION" .
}

# licences prints those of all modules in a program, and of what the console is built of.
licences() {
  local module version dir file
  go version -m "$1" | awk '$1 == "dep" { print $2, $3 }' | while read -r module version; do
    dir=$(go list -m -f '{{.Dir}}' "$module")
    for file in "$dir"/{LICENSE,LICENCE,COPYING,NOTICE,License,license}*; do
      [[ -f $file ]] && printf '\n==== %s %s: %s\n\n' "$module" "$version" "${file##*/}" && cat "$file"
    done
  done || true
  for module in preact @preact/signals @preact/signals-core uplot; do
    file=face/ui/node_modules/$module/LICENSE
    [[ -f $file ]] && printf '\n==== %s (npm)\n\n' "$module" && cat "$file"
  done || true
}

# lay puts a file into the tree of the package: lay MODE FILE DIRECTORY [NAME]
lay() { install -D -m "$1" "$2" "$root$3/${4:-${2##*/}}"; }

# stage lays out what the packages hold, but for the program: it is the same for all architectures.
stage() {
  local unit page file
  root=$STAGE/root
  mkdir -p "$root" "$STAGE/scripts"
  cp packaging/scripts/*.sh "$STAGE/scripts/"
  cp packaging/nfpm.yaml packaging/holdfast.yaml packaging/overrides "$STAGE/"
  for unit in packaging/*.service; do lay 644 "$unit" /usr/lib/systemd/system; done
  lay 644 packaging/holdfast.sysusers /usr/lib/sysusers.d holdfast.conf
  for file in packaging/monitoring/* ; do lay 644 "$file" /usr/share/holdfast/monitoring; done
  for file in packaging/examples/* examples/*; do lay 644 "$file" /usr/share/holdfast/examples; done
  while read -r file; do lay 644 "docs/$file" "/usr/share/doc/holdfast/$(dirname "$file")"; done < <(cd docs && find . -type f)
  # What documents lead to outside of docs is elsewhere in a package.
  find "$root/usr/share/doc/holdfast" -maxdepth 1 -name '*.md' -exec sed -i -E \
    's#\]\(\.\./(packaging/)?(examples|monitoring)(/|\))#](../../holdfast/\2\3#g' {} +
  lay 644 packaging/copyright /usr/share/doc/holdfast
  "$1" manual "$STAGE/manual"
  for page in "$STAGE"/manual/man?/*; do
    gzip -9n "$page"
    lay 644 "$page.gz" "/usr/share/man/$(basename "$(dirname "$page")")"
  done
  lay 644 "$STAGE/manual/completions/bash/holdfast" /usr/share/bash-completion/completions
  chmod 644 "$STAGE/manual/completions/zsh/_holdfast" # nfpm puts it where each packager's zsh looks
  lay 644 "$STAGE/manual/completions/fish/holdfast.fish" /usr/share/fish/vendor_completions.d
  licences "$1" >"$STAGE/third-party-licences"
  # What users see of each change, the newest first.
  for file in $(printf '%s\n' changelog/*.md | sort -r); do cat "$file"; echo; done >"$STAGE/NEWS"
  cat >"$STAGE/changelog.Debian" <<TEXT
holdfast (${VERSION/-/\~}-1) unstable; urgency=medium

  * See NEWS.gz.

 -- $MAINTAINER  $(date -u -R -d "@$SOURCE_DATE_EPOCH")
TEXT
  for file in third-party-licences NEWS changelog.Debian; do
    gzip -9n "$STAGE/$file"
    lay 644 "$STAGE/$file.gz" /usr/share/doc/holdfast
  done
}

mkdir -p "$out"
out=$(cd "$out" && pwd)
STAGE=$(mktemp -d)
trap 'rm -rf "$STAGE"' EXIT
native=${GO_BINARY:-$STAGE/native}
[[ -n ${GO_BINARY:-} ]] || compile "$(go env GOHOSTARCH)" "$native"
stage "$native"
[[ $# -gt 0 ]] || set -- amd64 arm64
for ARCH; do
  export ARCH
  if [[ $ARCH == "$(go env GOHOSTARCH)" ]]; then cp "$native" "$STAGE/holdfast"; else compile "$ARCH" "$STAGE/holdfast"; fi
  lay 755 "$STAGE/holdfast" /usr/bin
  find "$STAGE/root" "$STAGE/manual" "$STAGE/holdfast.yaml" "$STAGE/overrides" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
  for kind in deb rpm; do
    (cd "$STAGE" && go run "$nfpm" package --config nfpm.yaml --packager "$kind" --target "$out")
  done
done
