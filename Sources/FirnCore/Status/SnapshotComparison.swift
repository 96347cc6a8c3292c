internal import Postgres
package import Repository

/// Compares two snapshots by their own descriptions: no row is read.
package struct SnapshotComparison: Sendable {
  package struct Table: Sendable, Equatable {
    package struct Side: Sendable, Equatable {
      package let rows: Int64
      /// Plain bytes as COPY text.
      package let bytes: Int64
    }

    package let name: String
    /// Nil if it is not in the first snapshot.
    package let before: Side?
    /// Nil if it is not in the second snapshot.
    package let after: Side?
    /// False also if one was read in ranges and the other was not, or in others: then they can't be compared.
    package let isSame: Bool
  }

  /// A sequence whose value is another.
  package struct Sequence: Sendable, Equatable {
    package let name: String
    /// Its value; nil if it was never used or does not exist.
    package let before: Int64?
    package let after: Int64?
  }

  /// An object of the schema that is not in both, or not as it was.
  package struct Change: Sendable, Equatable, Encodable {
    /// Such as `TABLE public.users`.
    package let object: String
    /// Lines of its definition that are only in the first.
    package let removed: [String]
    /// And only in the second.
    package let added: [String]
  }

  package let first: Manifest
  package let second: Manifest
  /// Every table of either, by name.
  package let tables: [Table]
  /// Those that changed, by name.
  package let sequences: [Sequence]
  package let schema: [Change]

  /// - Throws: `RepositoryError`, `SnapshotDamaged`.
  package init(_ repository: Repository, from first: SnapshotPath, to second: SnapshotPath) throws {
    let (before, after) = (try RestoreSource(repository, first), try RestoreSource(repository, second))
    (self.first, self.second) = (before.manifest, after.manifest)
    func byName(_ manifest: Manifest) -> [QualifiedName: Manifest.Table] {
      Dictionary(manifest.tables.map { (QualifiedName(schema: $0.schema, name: $0.name), $0) }, uniquingKeysWith: { first, _ in first })
    }
    let (old, new) = (byName(before.manifest), byName(after.manifest))
    tables = Set(old.keys).union(new.keys).map { name in
      func side(_ table: Manifest.Table?) -> Table.Side? { table.map { .init(rows: $0.rows, bytes: $0.bytes) } }
      let (old, new) = (old[name], new[name])
      return Table(name: "\(name.schema).\(name.name)", before: side(old), after: side(new), isSame: old?.sha256 == new?.sha256)
    }.sorted { $0.name < $1.name }
    func values(_ manifest: Manifest) -> [String: Int64] {
      Dictionary(manifest.sequences.compactMap { entry in entry.lastValue.map { ("\(entry.schema).\(entry.name)", $0) } }, uniquingKeysWith: { $1 })
    }
    let (valuesBefore, valuesAfter) = (values(before.manifest), values(after.manifest))
    sequences = Set(valuesBefore.keys).union(valuesAfter.keys).sorted().compactMap { name in
      valuesBefore[name] == valuesAfter[name] ? nil : Sequence(name: name, before: valuesBefore[name], after: valuesAfter[name])
    }
    schema = Self.changes(from: before.directory, to: after.directory)
  }

  /// The lines that make each object of a schema; rows, sequences' values and large objects are none.
  private static func definitions(_ directory: ArchiveDirectory) -> [String: [String]] {
    var definitions: [String: [String]] = [:]
    for entry in directory.entries
    where !["TABLE DATA", "SEQUENCE SET", "STATISTICS DATA"].contains(entry.kind) && !entry.kind.hasPrefix("BLOB") {
      var lines = entry.definition.split(separator: "\n").map(String.init)
      if !entry.owner.isEmpty, entry.kind != "ACL", entry.kind != "COMMENT" { lines.append("owner \(entry.owner)") }
      definitions["\(entry.kind) \(entry.name)", default: []] += lines
    }
    return definitions
  }

  /// The changes that turn one schema into the other.
  static func changes(from first: ArchiveDirectory, to second: ArchiveDirectory) -> [Change] {
    let (old, new) = (definitions(first), definitions(second))
    return Set(old.keys).union(new.keys).sorted().compactMap { object in
      let (before, after) = (old[object] ?? [], new[object] ?? [])
      guard before != after else { return nil }
      let difference = after.difference(from: before)
      func lines(_ changes: [CollectionDifference<String>.Change]) -> [String] {
        changes.map { change in
          switch change {
          case .insert(_, let line, _), .remove(_, let line, _): line
          }
        }
      }
      return Change(object: object, removed: lines(difference.removals), added: lines(difference.insertions))
    }
  }
}
