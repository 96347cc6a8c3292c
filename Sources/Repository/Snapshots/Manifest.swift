internal import Digests
package import Foundation

/// The description of a snapshot: everything that a restore, a verification or an operator needs to know.
package struct Manifest: Codable, Sendable {
  package static let sizeLimit = 1 << 28
  /// The kind of a snapshot that a restore makes of the database it replaces.
  package static let safetyKind = "pre-restore"

  package struct Versions: Codable, Sendable {
    package var firn: String
    /// The output of `pg_dump --version`.
    package var pgDump: String
    /// The result of `SHOW server_version`.
    package var server: String
    /// `server_version_num`, such as 150018.
    package var serverNumber: Int

    package init(firn: String, pgDump: String, server: String, serverNumber: Int) {
      self.firn = firn
      self.pgDump = pgDump
      self.server = server
      self.serverNumber = serverNumber
    }

    package var serverMajor: Int { serverNumber / 10000 }
  }

  package struct Table: Codable, Sendable, Hashable {
    package var schema: String
    package var name: String
    /// The file of its rows in the archive.
    package var file: String
    package var rows: Int64
    /// Plain bytes of its rows as COPY text.
    package var bytes: Int64
    /// SHA-256 of those bytes.
    package var sha256: String
    /// The partitioned table through which its rows are restored, if they may go to another partition.
    package var loadedThrough: Root?
    /// The extension it belongs to: only the rows that the extension's condition selects are in a dump.
    package var ofExtension: String?
    /// The snapshot that read its rows; nil if it is this one.
    package var readIn: SnapshotID?
    /// Nil if no later snapshot can take its rows over.
    package var state: State?
    /// The ranges in which a very large table was read, in order; nil if it was read in one piece. Then `sha256` is that of the ranges'
    /// SHA-256 values, 32 bytes each.
    package var ranges: [BlockRange]?

    /// The rows in some blocks of a table.
    package struct BlockRange: Codable, Sendable, Hashable {
      /// It ends where the next range begins; the last one has no end.
      package var firstBlock: Int64
      package var rows: Int64
      /// Bytes of its rows as COPY text.
      package var bytes: Int64
      package var sha256: String
      /// The snapshot that read it; nil if it is this one.
      package var readIn: SnapshotID?

      package init(firstBlock: Int64, rows: Int64, bytes: Int64, sha256: String, readIn: SnapshotID?) {
        (self.firstBlock, self.rows, self.bytes, self.sha256, self.readIn) = (firstBlock, rows, bytes, sha256, readIn)
      }
    }

    /// The ranges' lengths in bytes.
    package var rangeLengths: [Int64] { ranges?.map(\.bytes) ?? [] }

    package struct Root: Codable, Sendable, Hashable {
      package var schema: String
      package var name: String

      package init(schema: String, name: String) {
        self.schema = schema
        self.name = name
      }
    }

    package init(schema: String, name: String, file: String, rows: Int64, bytes: Int64, sha256: String) {
      self.schema = schema
      self.name = name
      self.file = file
      self.rows = rows
      self.bytes = bytes
      self.sha256 = sha256
    }

    /// As users write it.
    package var displayName: String { "\(schema).\(name)" }
  }

  package struct Sequence: Codable, Sendable, Equatable {
    package var schema: String
    package var name: String
    /// The value that the archive sets; nil if the sequence was never used.
    package var lastValue: Int64?
    /// The extension it belongs to.
    package var ofExtension: String?

    package init(schema: String, name: String, lastValue: Int64?) {
      self.schema = schema
      self.name = name
      self.lastValue = lastValue
    }
  }

  package struct Extension: Codable, Sendable, Equatable {
    package var name: String
    package var version: String
    package var schema: String

    package init(name: String, version: String, schema: String) {
      self.name = name
      self.version = version
      self.schema = schema
    }
  }

  /// A table that seemed unchanged, and whose rows were others: the snapshots between took over rows that may be old.
  package struct Doubt: Codable, Sendable, Equatable {
    package var schema: String
    package var name: String
    /// The last snapshot that had read the table.
    package var after: SnapshotID
    /// The snapshot that found it, and read everything.
    package var before: SnapshotID

    package init(schema: String, name: String, after: SnapshotID, before: SnapshotID) {
      (self.schema, self.name, self.after, self.before) = (schema, name, after, before)
    }

    package func concerns(_ id: SnapshotID) -> Bool { after < id && id < before }

    /// Whether it is a problem still. After a week it is known, and the snapshots may stay for years.
    package func isNew(at now: Date) -> Bool { now.timeIntervalSince(before.startDate) < 7 * 86400 }

    /// A warning about a snapshot that it concerns.
    package var words: String {
      "\(schema).\(name) may hold old rows: it was taken over from \(after), and \(before) found other rows; if Firn missed a change, these two have "
        + "the right ones (if a disk is bad, this one may have them)"
    }
  }

  /// The ones that concern tables which this snapshot took over.
  package func doubtful(of known: [Doubt]) -> [Doubt] {
    known.filter { doubt in
      doubt.concerns(id) && tables.contains { $0.schema == doubt.schema && $0.name == doubt.name && $0.readIn.map { $0 <= doubt.after } ?? false }
    }
  }

  package struct ChunkTablePlace: Codable, Sendable, Equatable {
    /// Bytes of the part that names the objects, before it is encrypted.
    package var headBytes: Int64
    /// Bytes of all of it, before it is encrypted.
    package var bytes: Int64
    /// The size of the encrypted file; nil if it is not encrypted.
    package var sealedBytes: Int64?

    package init(headBytes: Int64, bytes: Int64, sealedBytes: Int64? = nil) {
      self.headBytes = headBytes
      self.bytes = bytes
      self.sealedBytes = sealedBytes
    }

    package var storedBytes: Int64 { sealedBytes ?? bytes }
    var length: StoredContents.Length { .init(content: bytes, stored: storedBytes) }
  }

  /// The newest version this program reads. Version 1 has no lists in its chunk table, version 2 no ranges.
  package static let newestVersion = 3
  /// The version of snapshots without ranges.
  package static let usualVersion = 2

  package var formatVersion = Manifest.usualVersion
  package var id: SnapshotID
  package var source: String
  package var database: String
  package var kind: String
  package var tags: [String: String] = [:]
  package var startedAt: Date
  package var finishedAt: Date
  package var parent: SnapshotID?
  /// False where anything was left out; `incompleteReasons` says what.
  package var complete: Bool
  package var incompleteReasons: [String] = []
  package var warnings: [String] = []
  /// SHA-256 of the archive's table of contents; nil in snapshots of earlier versions.
  package var contentsSHA256: String?
  /// Tables whose rows were excluded on request, as `schema.name`.
  package var excludedTables: [String]?
  /// The `search_path` that its restore needs, as SQL's `SET` takes it; nil for the archive's own, which is empty.
  package var searchPath: String?
  /// The server's `shared_preload_libraries`, as far as the role could read it.
  package var preloadedLibraries: [String]?
  /// The warnings about tables with far fewer rows than before.
  package var anomalies: [String]?
  /// Tables that seemed unchanged since the parent, and whose rows were others when they were read, in words.
  package var refutations: [String]?
  /// Tables of earlier snapshots that may hold old rows, as this one or one before it found.
  package var doubts: [Doubt]?
  /// The last snapshot that read all of its tables; nil if it is this one.
  package var readAllIn: SnapshotID?
  /// Nil if no later snapshot can take over tables of this one.
  package var changeBase: ChangeBase?
  package var versions: Versions
  package var systemIdentifier: String?
  /// The write-ahead log's place when the snapshot began.
  package var lsn: String?
  package var properties: DatabaseProperties
  package var extensions: [Extension] = []
  /// Roles that own or are granted anything in the database.
  package var roles: [String] = []
  package var tables: [Table] = []
  package var sequences: [Sequence] = []
  package var largeObjects: Int64 = 0
  /// Tablespaces that tables and indexes name, besides the database's own.
  package var tablespaces: [String] = []
  /// Plain bytes of the whole archive.
  package var bytes: Int64 = 0
  /// Bytes this snapshot added to the store.
  package var storedBytes: Int64 = 0
  package var newObjects: Int = 0
  package var chunkTable: ChunkTablePlace

  package init(
    place: SnapshotPath, kind: String, startedAt: Date, finishedAt: Date, versions: Versions, properties: DatabaseProperties,
    chunkTable: ChunkTablePlace
  ) {
    id = place.id
    source = place.source
    database = place.database
    self.kind = kind
    self.startedAt = startedAt
    self.finishedAt = finishedAt
    self.versions = versions
    self.properties = properties
    self.chunkTable = chunkTable
    complete = true
  }

  /// - Throws: `RepositoryError` for what is no manifest of that snapshot, or is newer than this program.
  package init(parsing bytes: [UInt8], of place: SnapshotPath, key: StoreKey) throws {
    struct Version: Decodable { let formatVersion: Int }
    let data = Data(bytes)
    let manifest = try? JSON.decoder.decode(Self.self, from: data)
    let version = manifest?.formatVersion ?? (try? JSON.decoder.decode(Version.self, from: data))?.formatVersion
    if let version, version > Manifest.newestVersion { throw RepositoryError.newerFormat(location: key, version: version) }
    guard let manifest, manifest.place == place, manifest.isSound else {
      throw RepositoryError.malformed(key: key, reason: "it is cut off or was changed")
    }
    self = manifest
  }

  /// The facts that pruning decides by.
  package struct Summary: Codable, Sendable, Equatable {
    let formatVersion: Int
    package let kind: String
    package let tags: [String: String]
    package let complete: Bool
    /// How many tables have far fewer rows than before.
    package var fallenTables: Int?
    /// Bytes this snapshot added to the store.
    package var storedBytes: Int64?

    package init(of manifest: Manifest) {
      formatVersion = manifest.formatVersion
      kind = manifest.kind
      tags = manifest.tags
      complete = manifest.complete
      fallenTables = manifest.anomalies?.count
      storedBytes = manifest.storedBytes
    }

    /// From one line of JSON.
    init?(line: Substring) {
      guard let summary = try? JSON.decoder.decode(Self.self, from: Data(line.utf8)) else { return nil }
      self = summary
    }

    var line: String {
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
      // Strings and numbers can be encoded.
      return String(decoding: try! encoder.encode(self), as: UTF8.self)
    }
  }

  /// Whether the numbers can be reckoned with: a list of backups must not end because one of them was written by chance.
  var isSound: Bool {
    func isSum(_ numbers: [Int64]) -> Bool {
      var sum: Int64 = 0
      return numbers.allSatisfy { number in
        let (next, overflows) = sum.addingReportingOverflow(number)
        sum = next
        return number >= 0 && !overflows
      }
    }
    return tables.allSatisfy { table in
      guard let ranges = table.ranges else { return true }
      let digests = ranges.compactMap { SHA256Digest(hexadecimal: $0.sha256) }
      return isSum(ranges.map(\.rows)) && isSum(ranges.map(\.bytes)) && ranges.reduce(0) { $0 + $1.bytes } == table.bytes
        && ranges.reduce(0) { $0 + $1.rows } == table.rows && digests.count == ranges.count
        && RangedHasher.digest(of: digests).description == table.sha256 && ranges.first?.firstBlock == 0
        && zip(ranges, ranges.dropFirst()).allSatisfy { $0.firstBlock < $1.firstBlock } && (ranges.last?.firstBlock ?? 0) < 1 << 32
    } && isSum(tables.map(\.rows)) && isSum(tables.map(\.bytes)) && isSum([largeObjects]) && isSum([bytes, storedBytes, Int64(newObjects)])
      && isSum([chunkTable.headBytes, chunkTable.bytes, chunkTable.storedBytes]) && max(chunkTable.bytes, chunkTable.storedBytes) < 1 << 59
      && (0..<1_000_000_000).contains(versions.serverNumber)
  }

  package var place: SnapshotPath { SnapshotPath(source: source, database: database, id: id) }

  /// Rows of all tables.
  package var rows: Int64 { tables.reduce(0) { $0 + $1.rows } }
}
