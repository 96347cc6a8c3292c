internal import Platform
internal import Postgres
internal import Repository

/// What of a snapshot is restored: which objects of the archive, which files, which tables are counted; and what is left out.
struct RestoreSelection {
  /// With the tables whose rows are restored.
  let manifest: Manifest
  let files: [String: SnapshotReader.FileEntry]
  /// The archive's table of contents, with the tablespaces and owners of here.
  let contents: [UInt8]
  /// The same as a dump of the restored database will tell it.
  let expectedContents: [UInt8]
  /// Entries that are not restored.
  let excluded: Set<Int>
  /// What is left out that was not asked for, in words.
  let leftOut: [String]
  /// For pg_restore.
  let flags: [String]
  /// Whether a restored database has the whole schema.
  let isWhole: Bool

  /// - Parameters:
  ///   - damaged: files that can't be restored.
  ///   - isForStockTools: whether others restore the archive, who knows how.
  init(_ source: RestoreSource, scope: RestoreScope, role: RestoringRole, damaged: Set<String> = [], isForStockTools: Bool = false) throws {
    let directory = source.directory
    var choice = Choice(directory)
    let chosen = source.manifest.tables.filter { table in
      scope.content == .everything && (scope.tables.isEmpty || scope.tables.contains { $0.matches(schema: table.schema, name: table.name) })
    }
    if scope.content == .everything { try source.requireMatches(scope.tables) }
    for entry in directory.entries {
      if let reason = role.obstacle(to: entry) { choice.leaveOut(entry, reason) }
    }
    choice.leaveOutDependents()
    let lostLargeObjects = damaged.contains { $0.hasPrefix("blob") }
    var wanted: Set<String> = []
    for table in chosen {
      guard !choice.excludes(file: table.file) else { continue }
      if damaged.contains(table.file) { choice.tell("rows of \(table.displayName): they are damaged") } else { wanted.insert(table.file) }
    }
    let filled = Set(directory.entries.filter { $0.kind == "TABLE DATA" && wanted.contains($0.file) }.flatMap(\.dependencies))
    let lacksRows = directory.entries.contains { $0.kind == "TABLE" && !filled.contains($0.dumpID) && !$0.isPartitioned }
    for entry in directory.entries {
      if entry.kind == "TABLE DATA", !wanted.contains(entry.file) { choice.exclude(entry) }
      // Rows that they point to may not be there.
      if lacksRows, scope.content == .everything, entry.kind == "FK CONSTRAINT", !choice.excludes(entry) {
        choice.leaveOut(entry, "rows it points to may be missing")
      }
      if entry.isOfLargeObjects {
        if scope.isPartial { choice.exclude(entry) } else if lostLargeObjects { choice.leaveOut(entry, "they are damaged") }
      }
      if scope.content == .schemaOnly, ["SEQUENCE SET", "MATERIALIZED VIEW DATA"].contains(entry.kind) { choice.exclude(entry) }
      if !scope.restoresPrivileges, ["ACL", "DEFAULT ACL"].contains(entry.kind) { choice.exclude(entry) }
    }
    let hasLargeObjects = scope.content == .everything && scope.tables.isEmpty && !lostLargeObjects
    files = source.files.filter { name, _ in
      name == "toc.dat" || wanted.contains(name)
        || hasLargeObjects && (name.hasPrefix("blob_") || name.hasPrefix("blobs")) && !damaged.contains(name)
    }
    var manifest = source.manifest
    manifest.tables = source.manifest.tables.filter { wanted.contains($0.file) }
    if scope.content == .schemaOnly { manifest.sequences = [] }
    let absent = Set(choice.entries(of: ["SEQUENCE", "SEQUENCE SET"]).map { QualifiedName(schema: $0.schema, name: $0.tag) })
    manifest.sequences.removeAll { absent.contains(QualifiedName(schema: $0.schema, name: $0.name)) }
    self.manifest = manifest

    let owners = Owners(scope: scope, role: role)
    for owner in Set(directory.entries.map(\.owner)).subtracting([""]).sorted() where owners.keeps && !role.canGive(to: owner) {
      let reason = role.existing.contains(owner) ? "\(role.name) may not give it away" : "that role does not exist"
      choice.tell("ownership by \(owner), which goes to \(role.name): \(reason)")
    }
    let throughRoot = Set(source.manifest.tables.filter { $0.loadedThrough != nil }.map(\.file))
    // Only what pg_restore makes in the same run does it empty in the transaction that fills it: not an extension's tables.
    let made = Set(directory.entries.filter { $0.kind == "TABLE" && !choice.excludes($0) }.map(\.dumpID))
    contents = directory.bytes(tablespace: scope.tablespace, owner: owners.written) { entry in
      let mayFreeze = !isForStockTools && !throughRoot.contains(entry.file) && entry.dependencies.contains(where: made.contains)
      return mayFreeze ? entry.freezingCopyStatement : entry.copyStatement
    }
    expectedContents = directory.bytes(tablespace: scope.tablespace, owner: owners.expected) { $0.copyStatement }
    excluded = choice.excluded
    leftOut = choice.leftOut
    flags = (scope.restoresPrivileges ? [] : ["--no-privileges"]) + (scope.content == .schemaOnly ? ["--schema-only"] : [])
    isWhole = leftOut.isEmpty && scope.tables.isEmpty
  }

  /// Whose an object becomes.
  private struct Owners {
    let scope: RestoreScope
    let role: RestoringRole

    var keeps: Bool { scope.owner == .recorded }

    /// Empty where it stays with whoever makes it.
    func written(for entry: ArchiveDirectory.Entry) -> String {
      // Of default privileges it is the role that they are of.
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

  /// Entries that are given up, one after the other.
  private struct Choice {
    private let directory: ArchiveDirectory
    private(set) var excluded: Set<Int> = []
    private(set) var leftOut: [String] = []

    init(_ directory: ArchiveDirectory) { self.directory = directory }

    func excludes(_ entry: ArchiveDirectory.Entry) -> Bool { excluded.contains(entry.dumpID) }
    func excludes(file: String) -> Bool { Int(file.dropLast(4)).map(excluded.contains) ?? false }
    func entries(of kinds: Set<String>) -> [ArchiveDirectory.Entry] { directory.entries.filter { kinds.contains($0.kind) && excludes($0) } }

    mutating func tell(_ what: String) { leftOut.append(what) }
    mutating func exclude(_ entry: ArchiveDirectory.Entry) { excluded.insert(entry.dumpID) }

    mutating func leaveOut(_ entry: ArchiveDirectory.Entry, _ reason: String) {
      guard excluded.insert(entry.dumpID).inserted else { return }
      leftOut.append("\(entry.words): \(reason)")
    }

    /// Comments, privileges, and whatever else can't be without what is left out.
    mutating func leaveOutDependents() {
      var isAnyNew = true
      while isAnyNew {
        isAnyNew = false
        for entry in directory.entries where !excludes(entry) {
          guard let cause = entry.dependencies.first(where: excluded.contains) else { continue }
          isAnyNew = true
          guard !["COMMENT", "ACL", "TABLE DATA", "SEQUENCE SET"].contains(entry.kind) else {
            exclude(entry)
            continue
          }
          let name = directory.entries.first { $0.dumpID == cause }?.words ?? "what is left out"
          leaveOut(entry, "it needs \(name)")
        }
      }
    }
  }
}

extension RestoreSource {
  /// - Throws: `FirnError.refused` naming every pattern that matches no table.
  func requireMatches(_ patterns: [TablePattern]) throws {
    let reasons = patterns.filter { pattern in !manifest.tables.contains { pattern.matches(schema: $0.schema, name: $0.name) } }.map { pattern in
      let isRoot = directory.entries.contains { $0.kind == "TABLE" && $0.isPartitioned && pattern.matches(schema: $0.schema, name: $0.tag) }
      return "no table of the snapshot is called \(pattern.text)"
        + (isRoot ? " and has rows: it is partitioned, and its rows are in its partitions, which can be named with *" : "")
    }
    guard reasons.isEmpty else { throw FirnError.refused(reasons: reasons) }
  }
}

extension ArchiveDirectory.Entry {
  /// Whether its rows are others'.
  var isPartitioned: Bool { definition.contains("\nPARTITION BY ") }

  /// As users read it.
  fileprivate var words: String {
    switch kind {
    case "ACL": "privileges on \(schema.isEmpty ? "" : "\(schema).")\(tag)"
    case "DEFAULT ACL": "\(tag)\(schema.isEmpty ? "" : " in schema \(schema)")"
    case "FK CONSTRAINT": "foreign key \(name)"
    default: "\(kind.lowercased()) \(name)"
    }
  }

  fileprivate var isOfLargeObjects: Bool {
    ["BLOB", "BLOBS", "BLOB METADATA"].contains(kind)
      || ["COMMENT", "ACL", "SECURITY LABEL"].contains(kind) && (tag.hasPrefix("LARGE OBJECT ") || tag.hasPrefix("LARGE OBJECTS "))
  }
}
