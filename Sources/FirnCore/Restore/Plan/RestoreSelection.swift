internal import Foundation
internal import Platform
internal import Postgres
internal import Repository

/// The selected part of a snapshot: entries of the archive and rows; and the parts that are left out.
struct RestoreSelection {
  /// With the tables whose rows are restored.
  private(set) var manifest: Manifest
  let files: [String: SnapshotReader.FileEntry]
  /// The archive's table of contents, with the tablespaces, owners and `search_path` of this restore.
  let contents: [UInt8]
  /// The same as a dump of the restored database has it.
  let expectedContents: [UInt8]
  /// Entries that are not restored.
  private(set) var excluded: Set<Int>
  /// Parts that are left out although they were asked for.
  let leftOut: [String]
  /// Notes for the operator.
  let notes: [String]
  /// For pg_restore.
  let flags: [String]
  /// Rows to load into tables.
  private(set) var loads: [TableLoad]
  /// Files of large objects.
  let largeObjects: [SnapshotReader.FileEntry]
  /// Rows and sequences of pg_cron that are loaded once the database has its name.
  let scheduledJobs: ScheduledJobs?
  /// For the sessions that restore; nil for the archive's own.
  let searchPath: String?
  /// Row security policies that are restored.
  let policies: [ArchiveDirectory.Entry]

  /// - Parameters:
  ///   - damaged: files that can't be restored.
  ///   - isForStockTools: whether other programs restore the archive.
  /// - Throws: `FirnError.refused` for a pattern that matches no table.
  init(_ source: RestoreSource, scope: RestoreScope, role: RestoringRole, damaged: Set<String> = [], isForStockTools: Bool = false) throws {
    let directory = source.directory
    let tables = ArchiveTables(directory)
    var choice = Choice(directory)
    let unwanted = try source.exclusions(scope, tables)
    for id in unwanted.tables { choice.exclude(id) }
    choice.leaveOutDependents()
    var byRequest = choice.takeNotes()
    // Setup grants it in each database, for incremental: file-times.
    let grants = role.isSuperuser ? [] : directory.entries.filter(\.isGrantOfFileTimes).map(\.dumpID)
    for grant in grants { choice.exclude(grant) }
    for entry in directory.entries where !choice.excludes(entry) {
      if let reason = role.obstacle(to: entry) { choice.leaveOut(entry, reason) }
    }
    let scheduler = role.loadsScheduledJobs && !scope.isPartial ? ScheduledJobs(source, damaged: damaged) : nil
    if role.loadsScheduledJobs, scheduler == nil {
      for entry in directory.entries where entry.kind == "EXTENSION" && entry.tag == ScheduledJobs.extensionName {
        choice.leaveOut(entry, scope.isPartial ? "it is restored with a whole database only" : "its rows are damaged")
      }
    }
    if let scheduler { for id in scheduler.entries { choice.exclude(id) } }
    choice.leaveOutDependents()
    let leftOutExtensions = Set(choice.entries(of: ["EXTENSION"]).map(\.tag)).subtracting(scheduler == nil ? [] : [ScheduledJobs.extensionName])

    let chosen = scope.content == .everything ? try source.tables(matching: scope.tables) : []
    var wanted: [String: Manifest.Table] = [:]
    for table in chosen where !choice.excludes(file: table.file) {
      if let name = table.ofExtension, leftOutExtensions.contains(name) {
        if table.rows > 0 { choice.note("rows of \(table.displayName): they belong to extension \(name)") }
      } else if damaged.contains(table.file) {
        choice.note("rows of \(table.displayName): they are damaged")
      } else if !unwanted.data.contains(table.qualifiedName) {
        wanted[table.file] = table
      }
    }
    let lostLargeObjects = damaged.contains { ArchiveFile.concernsLargeObjects($0) }
    let data = directory.entries.filter { $0.kind == "TABLE DATA" }
    let loaded = Set(data.filter { wanted[$0.file] != nil }.flatMap(\.dependencies))
    let withRows = Set(data.filter { (wanted[$0.file]?.rows ?? 0) > 0 }.flatMap(\.dependencies))
    func lacksRows(_ table: Int) -> Bool { tables.entries[table].map { !$0.isPartitioned && !loaded.contains(table) } ?? false }
    let ids = Set(directory.entries.map(\.dumpID))
    let ownedByExtensions = Dictionary(
      source.manifest.sequences.compactMap { sequence in sequence.ofExtension.map { (sequence.qualifiedName, $0) } },
      uniquingKeysWith: { first, _ in first })
    for entry in directory.entries {
      if entry.kind == "TABLE DATA", wanted[entry.file] == nil { choice.exclude(entry.dumpID) }
      if entry.kind == "SEQUENCE SET", let name = ownedByExtensions[entry.qualifiedName], leftOutExtensions.contains(name) {
        choice.exclude(entry.dumpID)
      }
      if scope.content == .everything, !choice.excludes(entry), let key = tables.foreignKey(entry) {
        let others = key.to.subtracting([key.from]).flatMap(tables.withPartitions)
        // An extension's table is filled with all others only.
        let pointsToExtension = !scope.tables.isEmpty && entry.dependencies.contains { !ids.contains($0) }
        if tables.withPartitions(key.from).contains(where: withRows.contains), pointsToExtension || others.contains(where: lacksRows) {
          let reason = "the rows it points to are not restored"
          if unwanted.data.isEmpty {
            choice.leaveOut(entry, reason)
          } else {
            choice.exclude(entry.dumpID)
            byRequest.append("\(entry.title): \(reason)")
          }
        }
      }
      if entry.isOfLargeObjects {
        if scope.isPartial { choice.exclude(entry.dumpID) } else if lostLargeObjects { choice.leaveOut(entry, "they are damaged") }
      }
      if scope.content == .schemaOnly, ["SEQUENCE SET", "MATERIALIZED VIEW DATA"].contains(entry.kind) { choice.exclude(entry.dumpID) }
      if !scope.restoresPrivileges, ["ACL", "DEFAULT ACL"].contains(entry.kind) { choice.exclude(entry.dumpID) }
    }
    let hasLargeObjects = scope.content == .everything && scope.tables.isEmpty && !lostLargeObjects
    files = source.files.filter { name, _ in
      name == ArchiveFile.contents || wanted[name] != nil
        || hasLargeObjects && ArchiveFile.concernsLargeObjects(name) && !damaged.contains(name)
    }
    largeObjects = files.values.filter(\.isLargeObject)
    var manifest = source.manifest
    manifest.tables = source.manifest.tables.filter { wanted[$0.file] != nil }
    if scope.content == .schemaOnly { manifest.sequences = [] }
    let absent = Set(choice.entries(of: ["SEQUENCE", "SEQUENCE SET"]).map(\.qualifiedName))
    manifest.sequences.removeAll { absent.contains($0.qualifiedName) || $0.ofExtension.map(leftOutExtensions.contains) ?? false }
    if !scope.tables.isEmpty { manifest.sequences.removeAll { $0.ofExtension != nil } }
    if scheduler != nil { manifest.sequences.removeAll { $0.ofExtension == ScheduledJobs.extensionName } }
    self.manifest = manifest

    let owners = Owners(scope: scope, role: role)
    for owner in Set(directory.entries.filter { !grants.contains($0.dumpID) }.map(\.owner)).subtracting(["", "pg_database_owner"]).sorted()
    where owners.keeps && !role.canGive(to: owner) {
      let reason = role.existing.contains(owner) ? "\(role.name) may not give it away" : "that role does not exist"
      choice.note("ownership by \(owner), which goes to \(role.name): \(reason)")
    }
    let searchPath = scope.searchPath ?? source.manifest.searchPath
    self.searchPath = searchPath
    contents = directory.bytes(
      definition: { $0.restored(searchPath: searchPath) }, tablespace: scope.tablespace, owner: owners.written)
    expectedContents = directory.bytes(definition: { $0.restored(searchPath: nil) }, tablespace: scope.tablespace, owner: owners.expected)
    // Only what pg_restore creates in this run can be emptied and frozen: not an extension's tables.
    let made = Set(tables.entries.keys.filter { !choice.excluded.contains($0) })
    loads = try data.compactMap { entry -> TableLoad? in
      guard let table = wanted[entry.file], let file = source.files[entry.file] else { return nil }
      guard let statement = entry.copyStatement else {
        throw FirnError.unsoundArchive(reason: "the rows of \(table.displayName) are restored by no COPY statement")
      }
      return TableLoad(
        table: table, file: file, statement: statement, tableID: entry.dependencies.first,
        isNew: entry.dependencies.contains(where: made.contains) && !entry.isLoadedThroughRoot)
    }
    excluded = choice.excluded
    policies = directory.entries.filter { $0.kind == "POLICY" && !choice.excludes($0) }
    leftOut = choice.leftOut
    notes =
      byRequest.map { "left out with the tables that you exclude: \($0)" }
      + (grants.isEmpty
        ? []
        : [
          "privileges on pg_catalog.pg_stat_file, which only a superuser can give, stay out; for incremental: file-times run firn setup --apply after the restore"
        ])
      + source.notesOfInheritance(scope.tables.isEmpty ? [] : manifest.tables)
    scheduledJobs = scheduler
    flags = (scope.restoresPrivileges ? [] : ["--no-privileges"]) + (scope.content == .schemaOnly ? ["--schema-only"] : [])
  }

  /// Rows, sequence values and privileges of objects that no entry creates: extensions do.
  func membersOfExtensions(in directory: ArchiveDirectory) -> [ArchiveDirectory.Entry] {
    let created = Set(directory.entries.filter { ["TABLE", "SEQUENCE"].contains($0.kind) }.map(\.qualifiedName))
    let ids = Set(directory.entries.map(\.dumpID))
    return directory.entries.filter { entry in
      guard !excluded.contains(entry.dumpID) else { return false }
      return switch entry.kind {
      case "TABLE DATA", "SEQUENCE SET": !created.contains(entry.qualifiedName)
      case "ACL": entry.dependencies.allSatisfy { !ids.contains($0) }
      default: false
      }
    }
  }

  /// Restores nothing into these tables and sequences either.
  mutating func exclude(_ entries: [ArchiveDirectory.Entry], sequences: Set<QualifiedName>) {
    excluded.formUnion(entries.map(\.dumpID))
    let names = Set(entries.filter { $0.kind != "ACL" }.map(\.qualifiedName)).union(sequences)
    manifest.tables.removeAll { names.contains($0.qualifiedName) }
    manifest.sequences.removeAll { names.contains($0.qualifiedName) }
    loads.removeAll { names.contains($0.table.qualifiedName) }
  }

  /// The role that an object is given to.
  private struct Owners {
    let scope: RestoreScope
    let role: RestoringRole

    var keeps: Bool { scope.owner == .recorded }

    /// Empty if the object stays with the role that creates it.
    func written(for entry: ArchiveDirectory.Entry) -> String {
      // For default privileges, the owner is the role they apply to.
      if entry.owner.isEmpty || entry.owner == "pg_database_owner" || entry.kind == "DEFAULT ACL" { return entry.owner }
      return switch scope.owner {
      case .recorded: role.canGive(to: entry.owner) ? entry.owner : ""
      case .restoring: ""
      // These two belong to superusers.
      case .role(let name): ["EVENT TRIGGER", "FOREIGN DATA WRAPPER"].contains(entry.kind) ? "" : name
      }
    }

    func expected(for entry: ArchiveDirectory.Entry) -> String {
      let owner = written(for: entry)
      return owner.isEmpty && !entry.owner.isEmpty ? role.name : owner
    }
  }

  /// Entries that are excluded, one after the other.
  private struct Choice {
    private let directory: ArchiveDirectory
    private(set) var excluded: Set<Int> = []
    private(set) var leftOut: [String] = []

    init(_ directory: ArchiveDirectory) { self.directory = directory }

    func excludes(_ entry: ArchiveDirectory.Entry) -> Bool { excluded.contains(entry.dumpID) }
    func excludes(file: String) -> Bool { Int(file.dropLast(4)).map(excluded.contains) ?? false }
    func entries(of kinds: Set<String>) -> [ArchiveDirectory.Entry] { directory.entries.filter { kinds.contains($0.kind) && excludes($0) } }

    /// Takes the notes on everything that was left out so far.
    mutating func takeNotes() -> [String] {
      defer { leftOut = [] }
      return leftOut
    }

    mutating func note(_ what: String) { leftOut.append(what) }
    mutating func exclude(_ id: Int) { excluded.insert(id) }

    mutating func leaveOut(_ entry: ArchiveDirectory.Entry, _ reason: String) {
      guard excluded.insert(entry.dumpID).inserted else { return }
      leftOut.append("\(entry.title): \(reason)")
    }

    /// Comments, privileges, and all else that can't exist without what is left out.
    mutating func leaveOutDependents() {
      var isAnyNew = true
      while isAnyNew {
        isAnyNew = false
        for entry in directory.entries where !excludes(entry) {
          guard let cause = entry.dependencies.first(where: excluded.contains) else { continue }
          isAnyNew = true
          guard !["COMMENT", "ACL", "TABLE DATA", "SEQUENCE SET"].contains(entry.kind) else {
            exclude(entry.dumpID)
            continue
          }
          let name = directory.entries.first { $0.dumpID == cause }?.title ?? "what is left out"
          leaveOut(entry, "it needs \(name)")
        }
      }
    }
  }
}

extension RestoreSource {
  /// The tables of the snapshot that patterns name, all if there is no pattern. A partitioned table stands for its partitions.
  /// - Throws: `FirnError.refused` naming every pattern that matches no table.
  func tables(matching patterns: [TablePattern]) throws -> [Manifest.Table] {
    guard !patterns.isEmpty else { return manifest.tables }
    let archive = ArchiveTables(directory)
    var found: Set<QualifiedName> = []
    var reasons: [String] = []
    for pattern in patterns {
      let roots = archive.entries.values.filter { $0.isPartitioned && pattern.matches(schema: $0.schema, name: $0.tag) }
      let partitions = Set(roots.flatMap { archive.withPartitions($0.dumpID) }.compactMap { archive.entries[$0]?.qualifiedName })
      let tables = manifest.tables.map(\.qualifiedName).filter { pattern.matches(schema: $0.schema, name: $0.name) || partitions.contains($0) }
      if tables.isEmpty {
        reasons.append(
          roots.isEmpty
            ? "no table of the snapshot is called \(pattern.text)"
            : "the snapshot has no rows of \(pattern.text): it is partitioned, and has no partition")
      }
      found.formUnion(tables)
    }
    guard reasons.isEmpty else { throw FirnError.refused(reasons: reasons) }
    return manifest.tables.filter { found.contains($0.qualifiedName) }
  }

  /// Tables to leave out, by their entries, and tables whose rows are left out. A partitioned table stands for its partitions.
  /// - Throws: `FirnError.refused` naming every pattern that matches no table.
  fileprivate func exclusions(_ scope: RestoreScope, _ archive: ArchiveTables) throws -> (tables: Set<Int>, data: Set<QualifiedName>) {
    var reasons: [String] = []
    func entries(_ patterns: [TablePattern]) -> Set<Int> {
      patterns.reduce(into: []) { found, pattern in
        let matching = archive.entries.values.filter { pattern.matches(schema: $0.schema, name: $0.tag) }
        if matching.isEmpty { reasons.append("no table of the snapshot is called \(pattern.text)") }
        for entry in matching { found.formUnion(archive.withPartitions(entry.dumpID)) }
      }
    }
    let (tables, data) = (entries(scope.excludedTables), entries(scope.excludedTableData))
    guard reasons.isEmpty else { throw FirnError.refused(reasons: reasons) }
    return (tables, Set(data.compactMap { archive.entries[$0]?.qualifiedName }))
  }

  /// For tables that others inherit from: where else rows are that a query of the table shows.
  func notesOfInheritance(_ chosen: [Manifest.Table]) -> [String] {
    let archive = ArchiveTables(directory)
    let names = Set(chosen.map(\.qualifiedName))
    return archive.entries.values.filter { names.contains($0.qualifiedName) }.sorted { $0.name < $1.name }.compactMap { table in
      let others = archive.children(of: table.dumpID).filter { !names.contains($0.qualifiedName) }.map(\.name)
      guard !others.isEmpty else { return nil }
      return
        "\(table.name) is restored with its own rows only; the rows of \(others.joined(separator: ", ")), which inherit from it, are not: name them with --table as well"
    }
  }
}

extension ArchiveDirectory.Entry {
  /// As users read it.
  var title: String {
    switch kind {
    case "ACL": "privileges on \(schema.isEmpty ? "" : "\(schema).")\(tag)"
    case "DEFAULT ACL": "\(tag)\(schema.isEmpty ? "" : " in schema \(schema)")"
    case "FK CONSTRAINT": "foreign key \(name)"
    default: "\(kind.lowercased()) \(name)"
    }
  }

  fileprivate var isGrantOfFileTimes: Bool { kind == "ACL" && schema == "pg_catalog" && tag.hasPrefix("FUNCTION pg_stat_file(") }

  fileprivate var isOfLargeObjects: Bool {
    ["BLOB", "BLOBS", "BLOB METADATA"].contains(kind)
      || ["COMMENT", "ACL", "SECURITY LABEL"].contains(kind) && (tag.hasPrefix("LARGE OBJECT ") || tag.hasPrefix("LARGE OBJECTS "))
  }

  /// The definition to restore: with another `search_path`, if one is given, and without the server's own bookkeeping.
  func restored(searchPath: String?) -> String {
    if kind == "SEARCHPATH", let searchPath { return "SELECT pg_catalog.set_config('search_path', \(Connection.literal(searchPath)), false);\n" }
    return withoutColumnVersions(definition)
  }
}

/// From its minor releases of November 2026 on a server keeps count of a column's type changes as `pg_attver` among the column's
/// options. Their pg_dump leaves that out; an older one prints it, and no server takes it.
package func withoutColumnVersions(_ definition: String) -> String {
  guard definition.contains("pg_attver=") else { return definition }
  let lines = definition.split(separator: "\n", omittingEmptySubsequences: false)
  return lines.compactMap { line -> String? in
    guard line.hasPrefix("ALTER "), line.hasSuffix(");"), let start = line.range(of: " SET (", options: .backwards) else { return String(line) }
    let options = line[start.upperBound...].dropLast(2).components(separatedBy: ", ")
    let kept = options.filter { !$0.hasPrefix("pg_attver=") }
    if kept.count == options.count { return String(line) }
    return kept.isEmpty ? nil : "\(line[..<start.upperBound])\(kept.joined(separator: ", ")));"
  }.joined(separator: "\n")
}

extension SnapshotReader.FileEntry {
  /// Whether it holds a large object.
  var isLargeObject: Bool { ArchiveFile.isLargeObject(name) }

  /// The id of the large object that it holds.
  var largeObjectID: UInt32? { isLargeObject ? UInt32(name.dropFirst(5).dropLast(4)) : nil }
}

extension Manifest.Table {
  var qualifiedName: QualifiedName { QualifiedName(schema: schema, name: name) }
}

extension Manifest.Sequence {
  var qualifiedName: QualifiedName { QualifiedName(schema: schema, name: name) }
}
