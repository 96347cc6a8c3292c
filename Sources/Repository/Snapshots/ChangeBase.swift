/// The record of its server in a snapshot, by which a later snapshot finds the tables that have not changed since.
package struct ChangeBase: Codable, Sendable, Equatable {
  /// Raised when a new version dumps the same rows as different text, or changes the rules of takeovers.
  package static let currentRules = 1

  /// A WAL summary that must still exist, unchanged. Otherwise the server's files were replaced by an earlier copy.
  package struct Witness: Codable, Sendable, Equatable {
    package let start: String
    package let end: String
    /// SHA-256 of its contents.
    package let sha256: String
    /// When its file was written, in seconds since 1970.
    package let modifiedAt: String

    package init(start: String, end: String, sha256: String, modifiedAt: String) {
      (self.start, self.end, self.sha256, self.modifiedAt) = (start, end, sha256, modifiedAt)
    }
  }

  /// Facts that must be the same for a table to be taken over.
  package struct Surroundings: Codable, Sendable, Equatable {
    package var rules = ChangeBase.currentRules
    package let database: UInt32
    package let systemIdentifier: String
    package let timeline: String
    /// The server's `version()`.
    package let server: String
    /// As `pg_dump --version`.
    package let pgDump: String
    package let encoding: String
    /// The settings of pg_dump's sessions.
    package let settings: String

    package init(database: UInt32, systemIdentifier: String, timeline: String, server: String, pgDump: String, encoding: String, settings: String) {
      (self.database, self.systemIdentifier, self.timeline, self.server) = (database, systemIdentifier, timeline, server)
      (self.pgDump, self.encoding, self.settings) = (pgDump, encoding, settings)
    }

    /// The first difference from those of an earlier snapshot, in words; nil if there is none.
    package func difference(from earlier: Surroundings, of snapshot: SnapshotID) -> String? {
      if self == earlier { return nil }
      if systemIdentifier != earlier.systemIdentifier { return "this is another server than that of \(snapshot)" }
      if timeline != earlier.timeline { return "the server was promoted or recovered since \(snapshot)" }
      if database != earlier.database { return "the database was created again since \(snapshot), as a restore does" }
      if server != earlier.server { return "the server was updated since \(snapshot)" }
      return pgDump != earlier.pgDump ? "pg_dump was updated since \(snapshot)" : "\(snapshot) was taken with other settings"
    }
  }

  package let surroundings: Surroundings
  /// Positions in the write-ahead log before the tables were locked, and after the snapshot was exported.
  package let begin: String
  package let end: String
  package let witness: Witness

  /// How the server showed what changed, if not by WAL summaries: then there are no positions, and each table has the times of its files.
  package let signal: String?

  package init(surroundings: Surroundings, begin: String, end: String, witness: Witness) {
    (self.surroundings, self.begin, self.end, self.witness, signal) = (surroundings, begin, end, witness, nil)
  }

  package init(surroundings: Surroundings, signal: String) {
    (self.surroundings, begin, end, self.signal) = (surroundings, "", "", signal)
    witness = Witness(start: "", end: "", sha256: "", modifiedAt: "")
  }
}

extension Manifest {
  /// The rows that were not read: how many whole tables, how many tables in part, the bytes of both, and the oldest reading. Nil
  /// if all was read.
  package var takenOver: (tables: Int, inPart: Int, bytes: Int64, oldestReading: SnapshotID)? {
    let taken = tables.filter { $0.readIn != nil }
    guard let oldest = taken.compactMap(\.readIn).min() else { return nil }
    let whole = taken.count { $0.rangesTakenOver == $0.ranges?.count ?? 0 }
    return (whole, taken.count - whole, taken.reduce(0) { $0 + $1.bytesTakenOver }, oldest)
  }
}

extension Manifest {
  /// The first blocks of the ranges of tables, by the tables' files. Two files in different tablespaces may have the same number: of these it
  /// is not known which blocks changed.
  package var rangesByFile: [UInt32: [Int64]] {
    let divided = tables.compactMap { table in table.state.flatMap { state in table.ranges.map { (state.filenode, $0.map(\.firstBlock)) } } }
    return Dictionary(grouping: divided, by: \.0).filter { $0.value.count == 1 }.mapValues { $0[0].1 }
  }
}

extension Manifest.Table {
  /// How many of its ranges were not read.
  package var rangesTakenOver: Int { ranges?.count { $0.readIn != nil } ?? 0 }

  /// Bytes of its rows that were not read.
  package var bytesTakenOver: Int64 {
    guard let ranges else { return readIn == nil ? 0 : bytes }
    return ranges.reduce(0) { $0 + ($1.readIn == nil ? 0 : $1.bytes) }
  }

  /// A table as the server had it when its snapshot was taken.
  package struct State: Codable, Sendable, Hashable {
    package let oid: UInt32
    /// The numbers of its files.
    package let filenode: UInt32
    package let toast: UInt32?
    package let tablespace: UInt32
    /// Bytes of its main file.
    package let bytes: Int64
    /// A digest of its columns, their types, and the extensions of the database.
    package let fingerprint: String
    /// SHA-256 of its definition in the archive.
    package let definition: String
    /// The archive's statement for its rows.
    package let copyStatement: String
    /// Whether a transaction had written to it and not ended.
    package let isInFlight: Bool
    /// The sizes and times of its files, if they are how changes are found.
    package let fileTimes: String?

    package init(
      oid: UInt32, filenode: UInt32, toast: UInt32?, tablespace: UInt32, bytes: Int64, fingerprint: String, definition: String,
      copyStatement: String, isInFlight: Bool, fileTimes: String? = nil
    ) {
      (self.oid, self.filenode, self.toast, self.tablespace, self.bytes) = (oid, filenode, toast, tablespace, bytes)
      (self.fingerprint, self.definition, self.copyStatement, self.isInFlight) = (fingerprint, definition, copyStatement, isInFlight)
      self.fileTimes = fileTimes
    }
  }
}
