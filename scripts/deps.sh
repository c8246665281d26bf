#!/usr/bin/env bash
# Installs what the tests run against: Debian's packages by apt-get; and into a cache outside the
# repository, by debootstrap, a clean Debian that packages are tried in, and from npm the modern
# ClickHouse engine, warcio, a reader of WARC files, and what drives a browser and judges a page
# (playwright-core, axe-core). It may be run any number of times; when nothing is missing it asks
# nobody. Where something cannot be had it says what stays untested and ends well: the tests themselves decide whether that is a failure (with
# CI=true it is). A client that is there and fails is an error.
#
#   deps.sh           install what is missing
#   deps.sh missing   only say what is missing
#
# HOLDFAST_DEPS_ROOT stands before every system path it looks at; its test sets it.
set -euo pipefail

root=${HOLDFAST_DEPS_ROOT:-}
repo=$(cd "$(dirname "$0")/.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/holdfast-test

# package | file that shows it is there, or a pattern | what stays untested without it
servers=(
  "clickhouse-server|/usr/sbin/clickhouse-server|the ClickHouse sink against 18.16"
  "postgresql|/usr/lib/postgresql/15/bin/postgres|the PostgreSQL sink"
  "redis-server|/usr/bin/redis-server|the source redis"
  "influxdb|/usr/bin/influxd|the InfluxDB sink"
  "openssh-server|/usr/sbin/sshd|transfers over SSH"
  "libcfitsio-bin|/usr/bin/fpack|FITS files packed by fpack"
  "rsync|/usr/bin/rsync|transfers against rsync (make bench)"
  "astropy-utils|/usr/bin/fitscheck|verdicts on FITS files against fitscheck's"
  "postgresql-doc|/usr/share/doc/postgresql-doc-[0-9]*/html|crawls of a real site: PostgreSQL's manual"
  "debian-handbook|/usr/share/doc/debian-handbook/html|crawls of a real site: the Debian handbook"
  "wget|/usr/bin/wget|crawls against wget (make bench)"
  "wget2|/usr/bin/wget2|crawls against wget2 (make bench)"
  "systemd-journal-remote|/lib/systemd/systemd-journal-remote|the watcher of the journal"
  "prometheus|/usr/bin/prometheus|the watcher of Prometheus"
  "chromium|/usr/bin/chromium|the console in a browser"
  "debootstrap|/usr/sbin/debootstrap|the package of Debian, in a Debian of its own"
  "lintian|/usr/bin/lintian|the package of Debian against Debian's rules"
  "rpm|/usr/bin/rpm|the package of Red Hat"
)

# The npm packages live in a directory named after the lock file, so that two checkouts with
# different pins do not fight over it. tests/testenv looks for it there.
lock=$repo/tests/testenv/package-lock.json
modules=$cache/npm-$(sha256sum "$lock" | cut -c1-16)
# A clean Debian, into copies of which tests install the package. tests/testenv looks for it there.
debian=$cache/debian-bookworm

untested="the ClickHouse sink against a modern engine, WARC files read back by warcio, the console in a browser"

say() { printf 'deps: %s\n' "$*"; }

# there reports whether a program or directory is there that the pattern $1 fits.
there() {
  local match
  while read -r match; do
    [[ -x $match ]] && return
  done < <(compgen -G "$root$1")
  return 1
}

missing_packages() {
  local package file
  printf '%s\n' "${servers[@]}" | while IFS='|' read -r package file _; do
    there "$file" || echo "$package"
  done
}

# tell_missing names every missing server, why, and what stays untested.
tell_missing() {
  local package file what
  printf '%s\n' "${servers[@]}" | while IFS='|' read -r package file what; do
    there "$file" || say "MISSING $package ($1). Untested: $what"
  done
}

as_root() {
  if [[ $(id -u) -eq 0 ]]; then "$@"; else sudo -n "$@"; fi
}

# start_links lists whatever makes a service, timer or job start by itself.
start_links() {
  find "$root/etc/systemd/system" -type l 2>/dev/null || true
  find "$root"/etc/rc[0-9S].d -name 'S*' 2>/dev/null || true
  find "$root/etc/cron.d" -type f 2>/dev/null || true
}

# forbid_starts keeps the packages' own scripts from starting what they install, unless this
# machine has a rule for that.
policy=$root/usr/sbin/policy-rc.d
forbid_starts() {
  [[ -e $policy ]] && return
  trap 'as_root rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
  as_root chmod 755 "$policy"
}

# undo_enabling takes back what the new packages enabled: their files stay, but nothing of theirs
# starts at boot or by the clock. What was there before, given as $1, is not touched.
undo_enabling() {
  local link name
  comm -13 <(sort <<<"$1") <(start_links | sort) | while read -r link; do
    case $link in
      "$root"/etc/rc*.d/S*)
        name=${link##*/S[0-9][0-9]}
        # One call takes back all its run levels; the links that it renamed come up no more.
        [[ -e $link || -L $link ]] && as_root update-rc.d "$name" disable >/dev/null ;;
      *) as_root rm -f "$link" ;;
    esac
    say "disabled $link"
  done
}

install_debian() {
  local packages before status=0
  mapfile -t packages < <(missing_packages)
  [[ ${#packages[@]} -eq 0 ]] && return
  if ! command -v apt-get >/dev/null; then
    tell_missing "there is no apt-get here"
    return
  fi
  if [[ $(id -u) -ne 0 ]] && ! sudo -n true 2>/dev/null; then
    tell_missing "installing it needs root, or sudo without a password"
    return
  fi
  say "installing ${packages[*]}"
  before=$(start_links)
  forbid_starts
  as_root apt-get update -qq
  # Whatever a half-done installation has enabled is taken back too.
  as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null || status=$?
  undo_enabling "$before"
  return "$status"
}

# install_npm makes the packages' directory appear by one rename: one that is there is whole.
install_npm() {
  local staging
  [[ -d $modules ]] && return
  if ! command -v npm >/dev/null; then
    say "MISSING libchdb, warcio, playwright-core, axe-core (there is no npm here). Untested: $untested"
    return
  fi
  if [[ $(uname -sm) != "Linux x86_64" ]]; then
    say "MISSING libchdb, warcio, playwright-core, axe-core (not made for $(uname -sm)). Untested: $untested"
    return
  fi
  mkdir -p "$cache"
  exec 9>"$cache/lock"
  flock 9
  [[ -d $modules ]] && return # another run has made it meanwhile
  say "installing libchdb, warcio, playwright-core, axe-core into $modules"
  rm -rf "$cache"/staging.*
  staging=$(mktemp -d "$cache/staging.XXXXXX")
  cp "$repo/tests/testenv/package.json" "$lock" "$staging/"
  npm ci --prefix "$staging" --no-audit --no-fund --loglevel=error
  mv "$staging" "$modules"
}

# lay_debian makes the root of a Debian with systemd, and appears by one rename too.
lay_debian() {
  local staging
  [[ -d $debian ]] && return
  if ! command -v debootstrap >/dev/null; then
    say "MISSING a clean Debian (there is no debootstrap here). Untested: the package of Debian, in a Debian of its own"
    return
  fi
  if [[ $(id -u) -ne 0 ]] && ! sudo -n true 2>/dev/null; then
    say "MISSING a clean Debian (laying it needs root, or sudo without a password). Untested: the package of Debian"
    return
  fi
  say "laying a clean Debian into $debian"
  mkdir -p "$cache"
  staging=$(mktemp -d "$cache/debian.XXXXXX")
  if ! as_root debootstrap --variant=minbase --include=systemd bookworm "$staging" >"$cache/debootstrap.log" 2>&1; then
    as_root rm -rf "$staging"
    say "debootstrap failed: $cache/debootstrap.log"
    return 1
  fi
  as_root rm -rf "$staging"/var/cache/apt/archives/*.deb "$staging"/var/lib/apt/lists/* "$staging"/usr/share/{doc,locale,man}
  as_root chmod 755 "$staging"
  as_root mv -T "$staging" "$debian"
}

case ${1:-} in
  "")
    install_debian
    lay_debian
    install_npm ;;
  missing)
    tell_missing "not installed"
    [[ -d $debian ]] || say "MISSING a clean Debian (not laid). Untested: the package of Debian, in a Debian of its own"
    [[ -d $modules ]] || say "MISSING libchdb, warcio, playwright-core, axe-core (not installed). Untested: $untested" ;;
  *)
    echo "usage: deps.sh [missing]" >&2
    exit 2 ;;
esac
