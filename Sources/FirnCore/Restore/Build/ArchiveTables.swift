internal import Platform
internal import Postgres

/// How the tables of an archive belong together: partitions, inheritance, foreign keys. Tables go by their dump ids.
struct ArchiveTables {
  /// The `TABLE` entries. Tables that belong to an extension have none: the extension creates them.
  let entries: [Int: ArchiveDirectory.Entry]
  /// The partitions of each partitioned table, and of each of these.
  private let partitions: [Int: [Int]]
  private let roots: [Int: Int]

  init(_ directory: ArchiveDirectory) {
    let entries = Dictionary(
      directory.entries.filter { $0.kind == "TABLE" }.map { ($0.dumpID, $0) }, uniquingKeysWith: { first, _ in first })
    var parents: [Int: Int] = [:]
    for entry in directory.entries {
      // Until version 13 pg_dump attached a partition in the entry of its table.
      let isAttachment = entry.kind == "TABLE ATTACH" || entry.kind == "TABLE" && entry.definition.contains(" ATTACH PARTITION ")
      guard isAttachment else { continue }
      let known = [entry.dumpID] + entry.dependencies
      let child = known.first { entries[$0]?.qualifiedName == entry.qualifiedName }
      let parent = known.first { $0 != child && entries[$0]?.isPartitioned == true }
      if let child, let parent { parents[child] = parent }
    }
    self.entries = entries
    partitions = Dictionary(grouping: parents.keys, by: { parents[$0]! })
    roots = Dictionary(
      entries.keys.map { table in
        var root = table
        var steps = 0
        while let parent = parents[root], steps < entries.count { (root, steps) = (parent, steps + 1) }
        return (table, root)
      }, uniquingKeysWith: { first, _ in first })
  }

  /// The table itself and all partitions below it.
  func withPartitions(_ table: Int) -> Set<Int> {
    var found: Set = [table]
    var waiting = [table]
    while let next = waiting.popLast() {
      for partition in partitions[next] ?? [] where found.insert(partition).inserted { waiting.append(partition) }
    }
    return found
  }

  /// The table and all that hang together with it as partitions of one root.
  func family(of table: Int) -> Set<Int> { withPartitions(roots[table] ?? table) }

  /// The tables that inherit from one, directly.
  func children(of table: Int) -> [ArchiveDirectory.Entry] {
    entries.values.filter { $0.dependencies.contains(table) && $0.definition.contains("\nINHERITS (") }.sorted { $0.name < $1.name }
  }

  /// The table of a foreign key, and those it points to: none if that table belongs to an extension.
  func foreignKey(_ entry: ArchiveDirectory.Entry) -> (from: Int, to: Set<Int>)? {
    guard entry.kind == "FK CONSTRAINT" else { return nil }
    let tables = Set(entry.dependencies.filter { entries[$0] != nil })
    // Its tag is "TABLE NAME", and both may have blanks.
    let own = tables.filter { id in entries[id].map { $0.schema.isSame(as: entry.schema) && entry.tag.hasPrefix($0.tag + " ") } ?? false }
    guard let from = own.max(by: { entries[$0]!.tag.utf8.count < entries[$1]!.tag.utf8.count }) else { return nil }
    let others = tables.subtracting([from])
    return (from, others.isEmpty && entry.dependencies.count(where: { $0 == from }) > 1 ? [from] : others)
  }
}

extension ArchiveDirectory.Entry {
  /// Whether its rows are in its partitions.
  var isPartitioned: Bool { definition.contains("\nPARTITION BY ") }
}
