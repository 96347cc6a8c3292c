#!/bin/sh
# Installs the package in a Debian 13 of its own and runs the main jobs on its PostgreSQL 17: `debian13.sh PACKAGE FOLDER`, as root.
# Prints a line for each thing that holds.
set -eu
package=$1
root=$2
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
trap 'umount "$root/proc" 2>/dev/null || true; rm -rf "$root"' EXIT
trap 'exit 143' TERM

quietly() { "$@" >"$root.log" 2>&1 || { tail -n 30 "$root.log"; echo "failed: $*"; exit 1; }; }
inside() { chroot "$root" "$@"; }

quietly debootstrap --variant=minbase trixie "$root"
printf 'Acquire::Check-Valid-Until "false";\nAcquire::Check-Date "false";\n' >"$root/etc/apt/apt.conf.d/99mirror"
mount -t proc proc "$root/proc"
mkdir -p "$root/etc/postgresql-common"
printf 'create_main_cluster = false\n' >"$root/etc/postgresql-common/createcluster.conf"
cp "$package" "$root/tmp/firn.deb"
quietly inside apt-get update
quietly inside apt-get install -y --no-install-recommends postgresql-17 zstd /tmp/firn.deb

cat >"$root/tmp/main-jobs.sh" <<'TEXT'
set -eu
bin=/usr/lib/postgresql/17/bin
data=/var/lib/postgresql/try
export PATH=$bin:/usr/bin:/bin PGHOST=/tmp PGPORT=54017 PGUSER=postgres HOME=/var/lib/postgresql FIRN_STORE=/var/lib/postgresql/store
initdb -D $data -U postgres --auth=trust --locale=C.UTF-8 -E UTF8 --no-sync >/dev/null
postgres -D $data -c listen_addresses= -c unix_socket_directories=/tmp -c port=54017 -c fsync=off >/tmp/server.log 2>&1 &
server=$!
trap 'kill -INT $server; wait $server || true' EXIT
tries=0
until pg_isready -q; do tries=$((tries + 1)); [ $tries -lt 300 ]; sleep 0.1; done
createdb app
psql -Xq -v ON_ERROR_STOP=1 app <<'SQL'
CREATE EXTENSION citext;
CREATE TABLE big (id int PRIMARY KEY, name citext, body text);
INSERT INTO big SELECT g, 'n' || g, repeat(md5(g::text), 20) FROM generate_series(1, 20000) g;
CREATE TABLE refs (id int REFERENCES big, UNIQUE (id));
INSERT INTO refs SELECT g FROM generate_series(1, 20000, 3) g;
CREATE MATERIALIZED VIEW totals AS SELECT count(*) FROM big;
SELECT lo_from_bytea(0, decode(repeat('00ff', 40000), 'hex')) FROM generate_series(1, 30);
SQL
rows() { psql -XqAt "$1" -c "SELECT md5(string_agg(t::text, '|' ORDER BY id)) FROM big t" -c "SELECT count(*), sum(id) FROM refs" \
  -c "SELECT md5(string_agg(md5(lo_get(oid)), ',' ORDER BY oid)) FROM pg_largeobject_metadata" -c "SELECT * FROM totals"; }
before=$(rows app)
firn init 2>/dev/null
firn-snapshot app >/dev/null
echo 'snapshot'
firn-restore app --as app_new --prove 2>&1
[ "$(rows app_new)" = "$before" ] && echo 'restored: the same rows'
pg_dump -Fc -f /tmp/stock.dump app
createdb -T template0 stock
pg_restore --exit-on-error -d stock /tmp/stock.dump
dump() { pg_dump -s "$1" | grep -v '^\\'; }
[ "$(dump app_new)" = "$(dump stock)" ] && echo 'restored: the schema that pg_restore makes'
firn-verify app --drill && echo 'drilled'
psql -Xqc 'TRUNCATE big CASCADE' app
firn-restore app latest --confirm app 2>&1
[ "$(rows app)" = "$before" ] && echo 'replaced'
firn-restore app --undo --confirm app 2>&1
[ "$(psql -XqAt app -c 'SELECT count(*) FROM big')" = 0 ] && echo 'undone'
TEXT
chmod 644 "$root/tmp/main-jobs.sh"
inside setpriv --reuid=postgres --regid=postgres --init-groups sh /tmp/main-jobs.sh

# As an operator would, with the configuration of the package: all databases of the server, and back after all of them are gone.
cat >"$root/tmp/whole-server.sh" <<'TEXT'
set -eu
bin=/usr/lib/postgresql/17/bin
data=/var/lib/postgresql/whole
as() { user=$1; shift; setpriv --reuid="$user" --regid="$user" --init-groups env HOME="$(getent passwd "$user" | cut -d : -f 6)" PATH=$bin:/usr/bin:/bin "$@"; }
mkdir -p /run/postgresql
chown postgres:postgres /run/postgresql
as postgres initdb -D $data -U postgres --auth=peer --locale=C.UTF-8 -E UTF8 --no-sync >/dev/null
setpriv --reuid=postgres --regid=postgres --init-groups $bin/postgres -D $data -c listen_addresses= -c unix_socket_directories=/run/postgresql \
  -c fsync=off >/tmp/whole.log 2>&1 &
server=$!
trap 'kill -INT $server; wait $server || true' EXIT
tries=0
until as postgres pg_isready -q; do tries=$((tries + 1)); [ $tries -lt 300 ]; sleep 0.1; done
as postgres psql -Xqc "CREATE ROLE app LOGIN PASSWORD 'secret'"
fill() { as postgres psql -Xq -v ON_ERROR_STOP=1 "$1" -c "SET ROLE app" -c "CREATE SCHEMA s" -c "CREATE TABLE s.t AS SELECT i, md5(i::text) FROM generate_series(1, 1000) i"; }
for number in 1 2 3 4 5 6 7 8 9 10 11 12; do
  as postgres createdb -O app "app$number"
  fill "app$number"
done
firn setup | grep -q 'CREATE ROLE "firn" LOGIN' && firn setup --apply >/dev/null 2>&1 && echo 'roles are made'
as firn firn init 2>/dev/null
as firn firn doctor | grep -E 'restore-rights +firn_restore may' >/dev/null && echo 'a doctor finds the rights'
# What the timer runs.
command=$(sed -n 's/^ExecStart=//p' /lib/systemd/system/firn-snapshot.service)
# shellcheck disable=SC2086
as firn $command >/dev/null 2>&1 && [ "$(as firn firn list --json | grep -o '"kind":"nightly"' | wc -l)" = 13 ] && echo 'every database has a snapshot'
as postgres createdb -O app new
fill new
as firn firn status 2>&1 | grep -q 'main/new has no snapshot' && echo 'a new database is missed'
# shellcheck disable=SC2086
as firn $command >/dev/null 2>&1
as firn firn report | grep -q '>new</a>' && as firn firn list new | grep -q nightly && ! as firn firn status 2>&1 | grep -q 'has no snapshot' && echo 'a new database is found'
dump() { as postgres pg_dump "$1" | grep -v '^.restrict\|^.unrestrict'; }
names='app1 app2 app3 app4 app5 app6 app7 app8 app9 app10 app11 app12 new'
before=$(for name in $names; do dump "$name"; done | sha256sum)
for name in $names; do as postgres dropdb "$name"; done
as firn firn-restore --all --prove 2>&1
[ "$(for name in $names; do dump "$name"; done | sha256sum)" = "$before" ] && echo 'a lost server is back'
as firn firn log --json | grep -q '"job":"restore"' && echo 'runs are recorded'
TEXT
chmod 644 "$root/tmp/whole-server.sh"
inside sh /tmp/whole-server.sh
