internal import Postgres

/// The entries of an archive in the order of their restore. pg_restore runs every phase but the rows.
struct ArchivePhases {
  /// All that must exist before rows: tables, types, functions, empty large objects.
  private(set) var schema: [ArchiveDirectory.Entry] = []
  /// Indexes, constraints, triggers, sequence values.
  private(set) var postData: [ArchiveDirectory.Entry] = []
  /// Privileges, row security and its policies: they may shut out the role that restores.
  private(set) var access: [ArchiveDirectory.Entry] = []
  /// Materialized views are queries, whose rows may depend on the database's settings.
  private(set) var views: [ArchiveDirectory.Entry] = []
  /// Event triggers would run for all that is still to be done, and may forbid it: they come last.
  private(set) var eventTriggers: [ArchiveDirectory.Entry] = []

  init(_ entries: [ArchiveDirectory.Entry]) {
    // Comments belong to the section of what they follow, as in pg_restore (pg_backup_archiver.c, ProcessArchiveRestoreOptions).
    var section = ArchiveDirectory.Section.preData
    for entry in entries {
      if entry.section != .none { section = entry.section }
      switch entry.kind {
      case "MATERIALIZED VIEW DATA": views.append(entry)
      case "EVENT TRIGGER": eventTriggers.append(entry)
      case "COMMENT" where entry.tag.hasPrefix("EVENT TRIGGER "): eventTriggers.append(entry)
      case "TABLE DATA", "BLOBS": break
      case "ACL", "DEFAULT ACL", "ROW SECURITY", "POLICY": access.append(entry)
      case "COMMENT" where entry.tag.hasPrefix("POLICY "): access.append(entry)
      case "BLOB", "BLOB METADATA": schema.append(entry)
      default: if section == .preData { schema.append(entry) } else { postData.append(entry) }
      }
    }
  }

  /// `postData` in steps, of which the second must be run by one session. Sessions that attach indexes to partitioned ones side by side
  /// lock each other out, or each sees the index of the level above without the other's, and leaves it invalid. Foreign keys need valid
  /// indexes, so they come last.
  var postDataSteps: (first: [ArchiveDirectory.Entry], attachments: [ArchiveDirectory.Entry], last: [ArchiveDirectory.Entry]) {
    let attachments = postData.filter { $0.kind == "INDEX ATTACH" }
    let attached = Set(attachments.map(\.dumpID))
    var later = attached
    // pg_dump sorts entries: what one depends on comes before it (pg_dump_sort.c).
    for entry in postData where !later.isDisjoint(with: entry.dependencies) { later.insert(entry.dumpID) }
    return (
      postData.filter { !later.contains($0.dumpID) }, attachments,
      postData.filter { later.contains($0.dumpID) && !attached.contains($0.dumpID) }
    )
  }

  /// Indexes and keys of tables whose rows are all there, while others still load.
  /// - Parameter unfinished: tables whose rows are not there.
  func indexes(_ tables: ArchiveTables, unfinished: Set<Int>) -> [ArchiveDirectory.Entry] {
    postData.filter { entry in
      guard ["INDEX", "CONSTRAINT"].contains(entry.kind) else { return false }
      let own = entry.dependencies.filter { tables.entries[$0] != nil }
      return !own.isEmpty && own.allSatisfy { tables.family(of: $0).isDisjoint(with: unfinished) }
    }
  }
}

extension [ArchiveDirectory.Entry] {
  /// As a list for `pg_restore --use-list`, which goes by the numbers.
  var restoreList: [UInt8] {
    let lines = self.map { entry in "\(entry.dumpID); 0 \(entry.oid) \(entry.kind)\n" }
    return [UInt8](lines.joined().utf8)
  }
}
