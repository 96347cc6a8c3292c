#!/bin/sh
# Installs the package in a Debian of its own, looks at what is there, and removes it again: `installed.sh PACKAGE FOLDER`, as root.
# Prints a line for each thing that holds.
set -eu
package=$1
root=$2
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
trap 'umount "$root/proc" 2>/dev/null || true; rm -rf "$root"' EXIT
trap 'exit 143' TERM

. /etc/os-release
quietly() { "$@" >"$root.log" 2>&1 || { tail -n 30 "$root.log"; echo "failed: $*"; exit 1; }; }
inside() { chroot "$root" "$@"; }

quietly debootstrap --variant=minbase "$VERSION_CODENAME" "$root"
# A mirror may be one of an older day. Minimal images leave manual pages out; this one must not.
printf 'Acquire::Check-Valid-Until "false";\nAcquire::Check-Date "false";\n' >"$root/etc/apt/apt.conf.d/99mirror"
rm -f "$root/etc/dpkg/dpkg.cfg.d/docker"
mount -t proc proc "$root/proc"
cp "$package" "$root/tmp/firn.deb"
quietly inside apt-get update
quietly inside apt-get install -y --no-install-recommends systemd man-db /tmp/firn.deb

for program in firn firn-snapshot firn-verify firn-restore firn-prune firn-migrate; do
  echo "version: $(inside "$program" --version)"
  inside man -w "$program" >/dev/null && inside bash -n "/usr/share/bash-completion/completions/$program" && echo "manual and completion: $program"
done
[ "$(inside firn snapshot --help | head -n 1)" = "$(inside firn-snapshot --help | head -n 1)" ] && echo 'firn snapshot is firn-snapshot'
[ "$(inside firn help restoring | head -n 1)" = '# Restoring' ] && [ -e "$root/usr/share/doc/firn/policies/nightly.yaml" ] &&
  [ "$(inside firn help DisasterRecovery | head -n 1)" = '# Disaster recovery' ] &&
  ! grep -rq -e '<doc:' -e '](Sources/' "$root/usr/share/doc/firn" && echo 'guides'
[ "$(inside man --warnings firn.yaml 2>&1 >/dev/null)" = '' ] && inside man firn.yaml | grep -q log-format && echo 'manual: firn.yaml'
inside systemd-analyze verify firn-hourly.service firn-hourly.timer firn-hourly@app.service firn-hourly@app.timer firn-snapshot@app.service firn-snapshot@app.timer firn-verify@app.service firn-verify@app.timer \
  firn-prune@app.service firn-prune@app.timer firn-snapshot.service firn-snapshot.timer firn-verify.service firn-verify.timer \
  firn-prune.service firn-prune.timer && echo 'units are sound'
for job in snapshot verify prune; do
  inside systemd-analyze security --no-pager --offline=true --threshold=20 "firn-$job@app.service" "firn-$job.service" >/dev/null && echo "confined: $job"
done
inside setpriv --reuid=firn --regid=firn --clear-groups env HOME=/var/lib/firn firn init 2>/dev/null && [ -e "$root/var/lib/firn/store/firn.json" ] && echo 'a store is made'
[ "$(inside stat -c '%U:%G %a' /etc/firn/firn.yaml /var/lib/firn | tr '\n' ' ')" = 'root:firn 640 firn:firn 710 ' ] && echo "others can't read it"
inside runuser -u nobody -- firn list 2>/dev/null || echo 'user nobody is refused'
inside runuser -u nobody -- env HOME=/tmp firn init 2>/dev/null || echo 'a stranger makes no store'
# As root would by mistake: the timers run as firn.
inside env HOME=/root firn init --store /var/lib/firn/by/root 2>/dev/null
[ "$(inside find /var/lib/firn/by -printf '%u:%g\n' | sort -u)" = 'firn:firn' ] && echo "a store that root makes is firn's"

# What was changed by hand stays, over a new version and until it is purged.
echo 'max-age: 30h' >>"$root/etc/firn/firn.yaml"
quietly inside apt-get install -y --reinstall /tmp/firn.deb
grep -q 'max-age: 30h' "$root/etc/firn/firn.yaml" && echo 'configuration kept'
quietly inside apt-get remove -y firn
[ ! -e "$root/usr/bin/firn" ] && [ ! -L "$root/usr/bin/firn-snapshot" ] && [ -e "$root/etc/firn/firn.yaml" ] && echo 'removed'
quietly inside apt-get purge -y firn
[ ! -e "$root/etc/firn/firn.yaml" ] && [ -e "$root/var/lib/firn/store/firn.json" ] && echo 'purged, snapshots kept'
