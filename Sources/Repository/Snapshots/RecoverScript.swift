internal import Platform

/// The script stored beside every snapshot, which recovers it without Firn.
package enum RecoverScript {
  /// - Parameters:
  ///   - database: its name, for the hint at the end.
  ///   - major: the major version of the pg_dump that made the archive.
  ///   - isEncrypted: whether the snapshot is encrypted.
  package static func text(id: SnapshotID, database: String, major: Int, isEncrypted: Bool) -> String {
    let quoted = "'" + database.replacingASCII("'", with: "'\\''") + "'"
    return """
      #!/bin/sh
      # Recovers one snapshot without Firn: writes the archive that pg_dump made (directory format) and globals.sql
      # into a new folder. It needs sh, coreutils, perl and zstd\(isEncrypted ? ", and age with an identity" : ""). It belongs where it lies in the store.
      set -eu
      LC_ALL=C
      export LC_ALL
      snapshot=\(id)
      database=\(quoted)
      major=\(major)
      suffix=\(isEncrypted ? SnapshotFiles.encryptedSuffix : "")

      """ + body
  }

  private static let body = #"""
    fail() { printf 'recover.sh: error: %s\n' "$1" >&2; exit 1; }
    if [ -n "$suffix" ]; then
      [ $# -eq 2 ] || { printf 'usage: sh recover.sh FOLDER IDENTITY\nIDENTITY is the file of an age identity that opens this snapshot.\n' >&2; exit 64; }
    else
      [ $# -ge 1 ] || { printf 'usage: sh recover.sh FOLDER\n' >&2; exit 64; }
    fi
    target=$1
    identity=${2:-}
    here=$(cd "$(dirname "$0")" && pwd)
    store=$(cd "$here/../../../.." && pwd)
    for tool in perl zstd sha256sum sort ${suffix:+age}; do
      command -v "$tool" >/dev/null || fail "$tool is missing: install it, then run this again"
    done
    [ -f "$store/firn.json" ] || fail "no store in $store: this script belongs in the store, beside its snapshot"
    [ -f "$here/SHA256SUMS" ] || fail "this snapshot was never finished"
    [ ! -e "$target" ] || fail "$target exists: name a new folder"
    first=
    if [ -n "$suffix" ]; then
      [ -r "$identity" ] || fail "cannot read the identity file $identity"
      IFS= read -r first < "$identity" || [ -n "$first" ] || fail "the identity file $identity is empty"
    fi
    umask 077
    mkdir -p "$target/archive"
    target=$(cd "$target" && pwd)
    if [ -n "$suffix" ]; then
      trap 'rm -f "$target/.identity" "$target/.sealed"' EXIT
      trap 'exit 130' INT
      trap 'exit 143' TERM HUP
      case $first in
      age-encryption.org/v1 | "-----BEGIN AGE ENCRYPTED FILE-----"*)
        # Opened once, not for every object.
        age -d "$identity" > "$target/.identity" || { rm -rf "$target"; fail "the identity file could not be opened"; } ;;
      *) cat "$identity" > "$target/.identity" ;;
      esac
      age -d -i "$target/.identity" "$here/manifest.json$suffix" > "$target/manifest.json" ||
        { rm -rf "$target"; fail "$identity does not open this snapshot"; }
    fi
    # Writes what a file of the store holds. No pipes: what fails in one of them is not seen.
    content() {
      if [ -n "$suffix" ]; then
        age -d -i "$target/.identity" "$1" > "$target/.sealed" || fail "cannot decrypt $1"
        zstd -dcq "$target/.sealed" > "$2" || fail "cannot decompress $1"
      else
        zstd -dcq "$1" > "$2" || fail "cannot decompress $1"
      fi
    }

    printf 'checking every stored byte\n' >&2
    (cd "$store" && sha256sum --quiet -c "$here/SHA256SUMS" >&2) || fail "the store is damaged: see the lines above"

    # Which bytes go where: one line a run of chunks, sorted by object, so that each object is decompressed once.
    printf 'reading the chunk table\n' >&2
    content "$here/chunks.tsv.zst$suffix" "$target/.table"
    # Large files are listed in objects of their own: these follow the table, each after a line with the file's name
    # and the place of its first chunk there.
    perl -ne 'print if s/^L\t//' "$target/.table" > "$target/.lists"
    while read -r name stored bytes head digest file offset rest; do
      folder=${name%"${name#??}"}
      content "$store/objects/$folder/$name.zst$suffix" "$target/.list" < /dev/null
      { printf 'T\t%s\t%s\n' "$file" "$offset"; cat "$target/.list"; } >> "$target/.table"
    done < "$target/.lists"
    perl -e '
      use strict; use warnings;
      open my $table, "<", "$ARGV[0]/.table" or die "$!";
      open my $lines, ">", "$ARGV[0]/.lines" or die "$!";
      open my $sums, ">", "$ARGV[0]/.sums" or die "$!";
      open my $ranges, ">", "$ARGV[0]/.ranges" or die "$!";
      my (@names, @frames, %number, $file, $at, $object, $place, @run, $listed, $first, @objects, @ends, %divided);
      my $contents = 0;
      sub put { printf $lines "%08d\t%d\t%d\t%d\t%s\n", @run if @run; @run = () }
      while (<$table>) {
        chomp;
        my @f = split /\t/;
        if (length $f[0] == 24) {
          my $n = $f[1];
          if (@run and $run[0] == $object and $run[1] + $run[2] == $place and $run[3] + $run[2] == $at) { $run[2] += $n }
          else { put(); @run = ($object, $place, $n, $at, $file) }
          $place += $n; $at += $n;
        }
        elsif ($f[0] eq "@") {
          $object = defined $listed ? $objects[$f[1]] : $f[1];
          $place = $frames[$object][$f[2]] + $f[3];
        }
        elsif ($f[0] eq "F") {
          put(); ($file, $at) = @f[1, 2];
          if (defined $listed) { $file = $listed; $at += $first }
          $file =~ /^[a-z0-9_][a-z0-9_.]*$/ or die "not a file name: $file";
          open my $new, ">>", "$ARGV[0]/archive/$file" or die "$file: $!";
        }
        elsif ($f[0] eq "R") { print $ranges "$file\t$at\t$f[1]\n"; $divided{$file} = 1 }
        elsif ($f[0] eq "E") { put(); push @ends, [$file, $f[2]]; $contents = 1 if $file eq "toc.dat" }
        elsif ($f[0] eq "T") { put(); ($listed, $first) = @f[1, 2]; @objects = () }
        elsif ($f[0] eq "o") { push @objects, $number{$f[1]} // die "an object is not in the chunk table\n" }
        elsif ($f[0] eq "O") { $number{$f[1]} = @names; push @names, $f[1]; push @frames, [0] }
        elsif ($f[0] eq "f") { push @{$frames[-1]}, $frames[-1][-1] + $f[2] }
      }
      put();
      $contents or die "the chunk table is cut off\n";
      for (@ends) {
        if ($divided{$_->[0]}) { print $ranges "$_->[0]\t-\t$_->[1]\n" } else { print $sums "$_->[1]  archive/$_->[0]\n" }
      }
      close $ranges or die "$!";
      open my $out, ">", "$ARGV[0]/.names" or die "$!";
      print $out "$_\n" for @names;
      close $out or die "$!";
      close $lines or die "$!";
      close $sums or die "$!";
    ' "$target" || fail "the chunk table could not be read"
    sort -T "$target" -k1,1n -k5,5 -k4,4n "$target/.lines" > "$target/.runs" || fail "sort failed"

    printf 'writing the archive\n' >&2
    perl -e '
      use strict; use warnings;
      my ($store, $target, $suffix) = @ARGV;
      open my $n, "<", "$target/.names" or die "$!";
      chomp(my @names = <$n>);
      open my $runs, "<", "$target/.runs" or die "$!";
      my ($loaded, $bytes, $open, $out) = (-1, "", "");
      while (<$runs>) {
        chomp;
        my ($object, $place, $length, $at, $file) = split /\t/;
        $object += 0;
        if ($object != $loaded) {
          my $name = $names[$object];
          my $path = "$store/objects/" . substr($name, 0, 2) . "/$name.zst$suffix";
          if ($suffix) {
            unlink "$target/.sealed";
            system("age", "-d", "-i", "$target/.identity", "-o", "$target/.sealed", $path) == 0 or die "cannot decrypt $path\n";
            $path = "$target/.sealed";
          }
          open my $in, "-|", "zstd", "-dcq", $path or die "zstd: $!";
          binmode $in;
          $bytes = "";
          1 while read $in, $bytes, 1 << 20, length $bytes;
          close $in or die "cannot decompress object $name\n";
          $loaded = $object;
        }
        if ($file ne $open) {
          if ($out) { close $out or die "$open: $!" }
          open $out, "+<", "$target/archive/$file" or die "$file: $!";
          binmode $out;
          $open = $file;
        }
        length $bytes >= $place + $length or die "an object is too short\n";
        seek $out, $at, 0 or die "$!";
        print $out substr($bytes, $place, $length) or die "$open: $!";
      }
      if ($out) { close $out or die "$open: $!" }
    ' "$store" "$target" "$suffix" || fail "the archive could not be written"

    printf 'checking the archive\n' >&2
    (cd "$target" && sha256sum --quiet -c .sums >&2) || fail "the archive differs from what was dumped"
    # Very large tables have the sum of the sums of their ranges.
    perl -e '
      use strict; use warnings;
      my $target = $ARGV[0];
      sub sum {
        my ($write) = @_;
        open my $tool, "|-", "sha256sum > \"\$SUM\"" or die "sha256sum: $!";
        binmode $tool;
        $write->($tool);
        close $tool or die "sha256sum failed\n";
        open my $in, "<", $ENV{SUM} or die "$!";
        return pack "H64", scalar <$in>;
      }
      $ENV{SUM} = "$target/.sum";
      open my $ranges, "<", "$target/.ranges" or die "$!";
      my (%ranges, %expected);
      while (<$ranges>) {
        chomp;
        my ($file, $end, $value) = split /\t/;
        if ($end eq "-") { $expected{$file} = $value } else { push @{$ranges{$file}}, [$end, $value] }
      }
      for my $file (sort keys %ranges) {
        open my $in, "<", "$target/archive/$file" or die "$file: $!";
        binmode $in;
        my $sums = "";
        for my $range (sort { $a->[0] <=> $b->[0] } @{$ranges{$file}}) {
          my $left = $range->[1];
          $sums .= sum(sub {
            my ($tool) = @_;
            while ($left > 0) {
              my $got = read $in, my $bytes, $left < 1 << 20 ? $left : 1 << 20;
              $got or die "$file is too short\n";
              print $tool $bytes or die "sha256sum: $!";
              $left -= $got;
            }
          });
        }
        eof $in and unpack("H64", sum(sub { print {$_[0]} $sums })) eq ($expected{$file} // "") or die "$file differs\n";
      }
    ' "$target" || fail "the archive differs from what was dumped"
    content "$here/globals.sql.zst$suffix" "$target/globals.sql"
    rm -f "$target/.sums" "$target/.names" "$target/.runs" "$target/.lines" "$target/.table" "$target/.lists" "$target/.list" "$target/.ranges" "$target/.sum"

    cat <<END
    Snapshot $snapshot is in $target.
    Go on with the tools of PostgreSQL $major or newer:
      psql -d postgres -f '$target/globals.sql'      # on a new server: roles and tablespaces (errors about what exists are harmless)
      createdb -T template0 NEWNAME
      PGOPTIONS='-c lc_monetary=C' pg_restore --exit-on-error --jobs=2 -d NEWNAME '$target/archive'
    The archive is of database $database; manifest.json (beside this script, or where that is encrypted in $target) tells its
    owner, locale and settings.
    END
    """#
}
