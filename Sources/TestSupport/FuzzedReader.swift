internal import CommandSupport
internal import Compression
internal import Digests
internal import FirnCore
internal import Platform
internal import Postgres
internal import Repository

/// The readers of data that may come back changed from a disk, each fed with arbitrary bytes.
///
/// The results are used like callers would use them. The reader must end, with or without an error: a trap, a hang or
/// unbounded memory is a finding.
package enum FuzzedReader: UInt8, CaseIterable, Sendable {
  /// `chunkTable` is its text: the head, a zero byte, and a segment; `storedChunkTable` is the file.
  case manifest, chunkTable, storedChunkTable, checksums, format, configuration
  /// The SQL of roles and tablespaces, and the table of contents of an archive of pg_dump.
  case globals, archive
  /// A list of a large file's chunks, as it is stored.
  case chunkList

  private static let place = SnapshotPath(key: "snapshots/s/app/20231114T221320Z-aaaa/manifest.json")

  /// Whether the reader took it.
  @discardableResult package func read(_ bytes: [UInt8]) -> Bool {
    do {
      try use(bytes)
      return true
    } catch {
      return false
    }
  }

  private func use(_ bytes: [UInt8]) throws {
    switch self {
    case .manifest:
      guard let place = Self.place else { preconditionFailure("not the place of a snapshot") }
      let manifest = try Manifest(parsing: bytes, of: place, key: place.manifest)
      _ = (manifest.rows, manifest.versions.serverMajor, manifest.properties.roles, manifest.tables.map(\.displayName))
      _ = manifest.tables.reduce(0) { $0 + $1.bytes }
      _ = try JSON.bytes(manifest)
    case .chunkTable:
      let halves = bytes.split(separator: 0, maxSplits: 1, omittingEmptySubsequences: false)
      let table = try ChunkTable(head: Array(halves[0]), key: "chunks")
      for object in table.objects { _ = (object.plainBytes, object.start(ofFrame: object.frames.count), object.usedBytes * 2) }
      for part in try table.parts(inSegment: Array(halves.dropFirst().joined())) {
        _ = part.chunks.reduce(part.offset) { $0 + Int64($1.location.length) }
      }
    case .storedChunkTable:
      let store = MemoryStore()
      try store.write(bytes, to: "chunks", durability: .immediate)
      // The first frame is the head, as far as one can be found.
      let head = try ZstdDecompressor().lengthOfFirstFrame(in: bytes) ?? bytes.count
      let contents = StoredContents(store)
      let place = Manifest.ChunkTablePlace(headBytes: Int64(head), bytes: Int64(bytes.count))
      let table = try ChunkTable(contents, key: "chunks", place: place, objectsAreEncrypted: false)
      for number in table.segments.indices { _ = try table.parts(ofSegment: number, contents) }
    case .chunkList:
      let store = MemoryStore()
      let head = try ZstdDecompressor().lengthOfFirstFrame(in: bytes) ?? bytes.count
      let name = ObjectName(SHA256Digest(of: bytes))
      try store.write(bytes, to: name.key, durability: .immediate)
      let line = "L\t\(name.digest)\t\(bytes.count)\t\(bytes.count)\t\(head)\t\(name.digest)\t1.dat\t0\t0\n"
      var compressor = try ZstdCompressor()
      let text = try Self.largeFile.get().head + Array(line.utf8)
      let table = try compressor.compress(text.span, effort: .table)
      try store.write(table, to: "chunks", durability: .immediate)
      let contents = StoredContents(store)
      let place = Manifest.ChunkTablePlace(headBytes: Int64(table.count), bytes: Int64(table.count))
      let read = try ChunkTable(contents, key: "chunks", place: place, objectsAreEncrypted: false)
      if let damage = read.lists.first?.damage { throw damage }
      for number in read.segments.indices { _ = try read.parts(ofSegment: number, contents) }
    case .checksums: _ = try ChecksumFile(parsing: bytes, key: "SHA256SUMS").objects
    case .format:
      let format = try RepositoryFormat(parsing: bytes, location: "store")
      _ = format.chunkHasher
      _ = Cutter(format)
    case .globals:
      let script = GlobalsScript(String(decoding: bytes, as: UTF8.self))
      _ = script.roles(toMake: ["app", "postgres", ""], existing: ["postgres"])
    case .archive:
      let archive = try ArchiveDirectory(parsing: bytes)
      _ = (archive.encodingName, archive.sessionStatements)
      for entry in archive.entries {
        _ = (entry.name, entry.qualifiedName, entry.isLoadedThroughRoot)
        _ = entry.copyStatement.map { ($0.loading(freezes: true), $0.dumping(condition: "WHERE true")) }
      }
      let changed = archive.bytes(definition: { "\($0.definition) " }, tablespace: { $0 + "x" }, owner: { _ in "" })
      guard let again = try? ArchiveDirectory(parsing: changed), again.entries.count == archive.entries.count else {
        preconditionFailure("what was written can't be read")
      }
    case .configuration: _ = try Configuration(parsing: String(decoding: bytes, as: UTF8.self), name: "firn.yaml")
    }
  }

  /// A list, and the head of its chunk table up to the line that names it.
  private static let largeFile = Result<(list: [UInt8], head: [UInt8]), any Error> {
    let store = MemoryStore()
    let snapshots = try SyntheticSnapshots(in: store, chunkAverage: 1024)
    var random = SeededRandom(seed: 7)
    let rows = (0..<30_000).map { "\($0)\t\(random.next() as UInt64)\n" }.joined() + "\\.\n\n\n"
    let manifest = try snapshots.take(["1.dat": Array(rows.utf8)], night: 1)
    let table = try store.read(manifest.place.chunkTable, limit: 1 << 20)
    let text = try ZstdDecompressor().decompressAll(Array(table[..<Int(manifest.chunkTable.headBytes)]), limit: 1 << 20)
    guard let list = text.firstRange(of: Array("L\t".utf8)),
      let name = ObjectName(hexadecimal: String(decoding: text[list.upperBound...].prefix(64), as: UTF8.self))
    else { throw Unavailable("no list in the chunk table") }
    return (try store.read(name.key, limit: 1 << 20), Array(text[..<list.lowerBound]))
  }

  /// Inputs that the reader takes, for a fuzzer to begin with.
  package func samples() throws -> [[UInt8]] {
    let store = MemoryStore()
    let snapshots = try SyntheticSnapshots(in: store, chunkAverage: 1024, frameBytes: 1 << 14, objectBytes: 1 << 16)
    var random = SeededRandom(seed: 7)
    let rows = (0..<3000).map { "\($0)\t\(random.next() as UInt64)\n" }.joined() + "\\.\n\n\n"
    let manifest = try snapshots.take(["toc.dat": Array("toc".utf8), "1.dat": Array(rows.utf8), "2.dat": Array("\\.\n\n\n".utf8)], night: 0)
    let place = manifest.place
    switch self {
    case .manifest:
      guard let wanted = Self.place else { return [] }
      var full = manifest
      full.id = wanted.id
      full.source = wanted.source
      full.database = wanted.database
      full.tags = ["release": "v2"]
      full.properties.grants = [.init(grantee: nil, privilege: "CONNECT", grantable: false)]
      full.properties.settings = [.init(role: "o", name: "work_mem", value: "64MB")]
      full.sequences = [.init(schema: "public", name: "s", lastValue: 7)]
      full.extensions = [.init(name: "hstore", version: "1.8", schema: "public")]
      return [try JSON.bytes(full)]
    case .chunkTable:
      let table = try store.read(place.chunkTable, limit: 1 << 20)
      let decompressor = try ZstdDecompressor()
      let head = Int(manifest.chunkTable.headBytes)
      let text = try decompressor.decompressAll(Array(table[..<head]), limit: 1 << 20)
      return [text + [0] + (try decompressor.decompressAll(Array(table[head...]), limit: 1 << 20))]
    case .chunkList: return [try Self.largeFile.get().list]
    case .storedChunkTable: return [try store.read(place.chunkTable, limit: 1 << 20)]
    case .checksums: return [try store.read(place.checksums, limit: 1 << 20)]
    case .globals:
      return [
        Array(
          """
          --
          -- Roles
          --
          CREATE ROLE app;
          ALTER ROLE app WITH NOSUPERUSER LOGIN PASSWORD 'SCRAM-SHA-256$4096:x$y:z'; -- 'not a quote
          CREATE ROLE "odd "" name";
          ALTER ROLE "odd "" name" WITH SUPERUSER;
          ALTER ROLE app SET search_path TO 'a;b', "c";
          GRANT "odd "" name" TO app WITH ADMIN OPTION GRANTED BY postgres;

          """.utf8)
      ]
    case .archive: return [try Folder.contents(of: FirnProgram.projectFile("Tests/Fuzzing/toc.dat"))]
    case .format: return [try store.read(RepositoryFormat.key, limit: 1 << 20)]
    case .configuration:
      return [
        Array(
          """
          store: /srv/backup
          jobs: 4
          spool-cap: 64MiB
          lock-wait: 5s
          exclude-table-data: [a.*, "b"]
          max-age: 30h
          anomaly: 20%
          maintenance: {stop: [systemctl stop web], health: "http://127.0.0.1/up", health-retries: 3, health-pause: 2s}
          assertions:
            - name: has users
              sql: select count(*) > 0 from users
              expect: "t"

          """.utf8)
      ]
    }
  }
}
