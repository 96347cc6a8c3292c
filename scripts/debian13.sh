# Sourced after prepare.sh, whose `say` and `fail` it uses: PostgreSQL of Debian 13, which runs on Debian 12 too.
# shellcheck shell=sh

# PostgreSQL 17 of Debian 13, which runs on Debian 12 too: `prepare_postgresql_17 FOLDER [PACKAGE...]`. Prints the folder of its programs.
# More packages of Debian 13 are unpacked beside it. Nothing is installed, so this needs no root.
#
# The programs use the C library and the linker that are unpacked with them: patchelf writes these into each program. So no wrapper, no
# chroot and no environment is needed, and what a program starts uses the system's own. FOLDER is an absolute path and cannot be moved.
prepare_postgresql_17() {
  place=$1
  shift
  wanted="postgresql-17 postgresql-client-17${*:+ $*}"
  programs=$place/usr/lib/postgresql/17/bin
  # The marker names what was unpacked, and is written last.
  if [ "$(cat "$place/complete" 2>/dev/null)" != "$wanted" ]; then
    say "unpacking PostgreSQL 17 of Debian 13"
    mkdir -p "$(dirname "$place")"
    passing=$(mktemp -d "$place-XXXXXX")
    chmod 755 "$passing"
    unpack_trixie "$passing" "$wanted patchelf"
    use_own_libraries "$passing/whole" "$place"
    rm -rf "$place"
    mv "$passing/whole" "$place"
    rm -rf "$passing"
    "$programs/postgres" --version >/dev/null || fail "PostgreSQL 17 of Debian 13 does not run here" "see the lines above"
    printf '%s\n' "$wanted" >"$place/complete"
  fi
  printf '%s\n' "$programs"
}

# The mirror that this machine's apt uses.
# shellcheck disable=SC2016
debian_mirror() {
  apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' 2>/dev/null | head -n 1
}

# Unpacks packages of Debian 13 and the libraries they need into PASSING/whole: `unpack_trixie PASSING PACKAGES`.
unpack_trixie() {
  mkdir -p "$1/state/lists/partial" "$1/cache/archives/partial" "$1/packages" "$1/etc/preferences.d" "$1/etc/sources.list.d"
  mirror=$(debian_mirror)
  # The lists of packages may be missing.
  if [ -z "$mirror" ]; then update_package_lists; mirror=$(debian_mirror); fi
  [ -n "$mirror" ] || fail "apt knows no mirror of Debian" "add one to /etc/apt/sources.list"
  printf 'deb [arch=%s signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s trixie main\n' \
    "$(dpkg --print-architecture)" "$mirror" >"$1/etc/sources.list"
  # As if nothing was installed: else libraries that the machine has would be left out. The machine's proxies stay in force, its
  # sources and preferences do not.
  options="-qq -o Dir::State=$1/state -o Dir::State::status=/dev/null -o Dir::Cache=$1/cache -o Dir::Etc=$1/etc -o APT::Sandbox::User=
    -o APT::Default-Release="
  # shellcheck disable=SC2086
  apt-get $options update >&2 || fail "could not get the lists of packages of Debian 13" "check the network and apt's configuration"
  # Of what these packages need, the libraries alone. Perl and LLVM are large, and nothing here uses them.
  # shellcheck disable=SC2086
  needed=$(apt-get $options install -s --no-install-recommends $2 | sed -n 's/^Inst \(lib[^ ]*\|zlib1g\) .*/\1/p' | grep -v -e perl -e llvm -e '^libz3')
  # shellcheck disable=SC2086
  { [ -n "$needed" ] && (cd "$1/packages" && apt-get $options download $needed $2); } >&2 ||
    fail "could not get the packages of PostgreSQL 17" "check the network and apt's configuration"
  for package in "$1"/packages/*.deb; do dpkg -x "$package" "$1/whole"; done
}

# Makes unpacked programs use the libraries beside them, once all is in PLACE: `use_own_libraries WHOLE PLACE`.
use_own_libraries() {
  # With this library and without LLVM, expensive queries fail. Without both, they are not compiled.
  rm -rf "$1/usr/lib/postgresql/17/lib/llvmjit.so" "$1/usr/lib/postgresql/17/lib/bitcode"
  libraries=$(dirname "$1"/usr/lib/*/libc.so.6)
  linker=$(basename "$libraries"/ld-linux-*.so.*)
  final=$2${libraries#"$1"}
  for program in "$1"/usr/bin/* "$1"/usr/lib/postgresql/17/bin/*; do
    # Scripts, and programs without a linker, stay as they are.
    patch_program "$1" --print-interpreter "$program" >/dev/null 2>&1 || continue
    # DT_RPATH, unlike DT_RUNPATH, holds for the libraries that libraries need, too.
    patch_program "$1" --output "$program.patched" --set-interpreter "$final/$linker" --force-rpath --set-rpath "$final" "$program" ||
      fail "patchelf could not change $program" "see the lines above"
    chmod 755 "$program.patched"
    mv "$program.patched" "$program"
  done
}

# Runs the unpacked patchelf, which needs the unpacked libraries itself: `patch_program WHOLE ARGUMENTS...`.
patch_program() {
  unpacked=$1
  shift
  "$libraries/$linker" --library-path "$libraries" "$unpacked/usr/bin/patchelf" "$@"
}
