#!/usr/bin/env bash
# Installs the servers that the tests run against: Debian's packages by apt-get, and the modern
# ClickHouse engine from npm into a cache outside the repository. It may be run any number of
# times; when nothing is missing it asks neither apt nor npm. Where something cannot be had it
# says what stays untested and ends well: the tests themselves decide whether that is a failure
# (with CI=true it is).
set -euo pipefail

# package:file that shows it is there:what stays untested without it
servers=(
  "clickhouse-server:/usr/sbin/clickhouse-server:the ClickHouse 18.16 sink (connector/clickhouse, holdfast wsprnet)"
)

repo=$(cd "$(dirname "$0")/.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/holdfast-test

# The npm packages live in a directory named after the lock file, so that two checkouts with
# different pins do not fight over it.
lock=$repo/tests/testenv/package-lock.json
engine=$cache/npm-$(sha256sum "$lock" | cut -c1-16)
modern="the ClickHouse sink against a modern engine"

say() { printf 'deps: %s\n' "$*"; }

missing_servers() {
  local s package file
  for s in "${servers[@]}"; do
    IFS=: read -r package file _ <<<"$s"
    [[ -x $file ]] || echo "$package"
  done
}

tell_untested() {
  local s package file what
  for s in "${servers[@]}"; do
    IFS=: read -r package file what <<<"$s"
    [[ -x $file ]] || say "MISSING $package ($1): stays untested: $what"
  done
}

# as_root runs a command with root's rights.
as_root() {
  if [[ $(id -u) -eq 0 ]]; then "$@"; else sudo -n "$@"; fi
}

# start_links lists whatever makes a service, timer or job start by itself.
start_links() {
  find /etc/systemd/system -type l 2>/dev/null || true
  find /etc/rc[0-9S].d -name 'S*' 2>/dev/null || true
  find /etc/cron.d -type f 2>/dev/null || true
}

# forbid_starts keeps the packages' scripts from starting what they install, unless this
# machine has its own rule for that.
policy=/usr/sbin/policy-rc.d
forbid_starts() {
  if [[ ! -e $policy ]]; then
    printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
    as_root chmod 755 "$policy"
    trap 'as_root rm -f "$policy"' EXIT
  fi
}

# undo_enabling takes back what the new packages enabled: their files stay, but nothing of
# theirs starts at boot or by the clock. What was there before is not touched.
undo_enabling() {
  local link name
  while read -r link; do
    case $link in
      /etc/rc*.d/S*)
        name=${link##*/S[0-9][0-9]}
        as_root update-rc.d "$name" disable >/dev/null 2>&1 || true ;;
      *) as_root rm -f "$link" ;;
    esac
    say "disabled $link"
  done < <(comm -13 <(sort <<<"$1") <(start_links | sort))
}

install_debian() {
  local packages before
  mapfile -t packages < <(missing_servers)
  [[ ${#packages[@]} -eq 0 ]] && return
  if ! command -v apt-get >/dev/null; then
    tell_untested "no apt-get here"
    return
  fi
  if [[ $(id -u) -ne 0 ]] && ! sudo -n true 2>/dev/null; then
    tell_untested "needs root or sudo without a password"
    return
  fi
  say "installing ${packages[*]}"
  before=$(start_links)
  forbid_starts
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
  undo_enabling "$before"
}

# install_npm makes the engine's directory appear by one rename: one that is there is whole.
install_npm() {
  local staging
  [[ -d $engine ]] && return
  if ! command -v npm >/dev/null; then
    say "MISSING npm: stays untested: $modern"
    return
  fi
  if [[ $(uname -sm) != "Linux x86_64" ]]; then
    say "MISSING libchdb for $(uname -sm): stays untested: $modern"
    return
  fi
  say "installing libchdb into $engine"
  mkdir -p "$cache"
  exec 9>"$cache/lock"
  flock 9
  [[ -d $engine ]] && return
  rm -rf "$cache"/staging.*
  staging=$(mktemp -d "$cache/staging.XXXXXX")
  cp "$repo/tests/testenv/package.json" "$lock" "$staging/"
  npm ci --prefix "$staging" --no-audit --no-fund --loglevel=error
  mv "$staging" "$engine"
}

if [[ ${1:-} == missing ]]; then
  tell_untested "not installed"
  [[ -d $engine ]] || say "MISSING libchdb (not installed): stays untested: $modern"
  exit 0
fi
install_debian
install_npm
