internal import Digests
package import Foundation
internal import Platform
package import Postgres
package import Repository

/// Brings rows back into a database that exists, in one transaction, and never into a table that has any: either into new tables in
/// a schema of their own, which have columns and rows and no indexes, foreign keys, triggers or privileges, or into tables that are
/// there and empty.
package struct TableRestore {
  package enum Destination: Sendable {
    case newSchema(at: Date)
    case emptyTables
  }

  package struct Outcome: Sendable {
    /// The new schema.
    package let schema: String?
    package let tables: [(name: String, rows: Int64)]
    /// Notes for the operator.
    package let notes: [String]
    package let objectsRead: Int
    package let objectsOfSnapshot: Int
  }

  private let repository: Repository
  private let place: SnapshotPath
  private let settings: ConnectionSettings
  /// Empty for all tables.
  private let patterns: [TablePattern]
  /// For functions in columns and checks; nil for the snapshot's.
  private let searchPath: String?
  private let progress: WorkProgress

  package init(
    repository: Repository, place: SnapshotPath, settings: ConnectionSettings, patterns: [TablePattern], searchPath: String?, progress: WorkProgress
  ) {
    self.repository = repository
    self.place = place
    self.settings = settings
    self.patterns = patterns
    self.searchPath = searchPath
    self.progress = progress
  }

  /// - Throws: `FirnError.refused`, `.restoredCopyDiffers`, what the server and reading the snapshot throw. Then nothing was made.
  package func run(into destination: Destination) throws -> Outcome {
    let lock = try StoreHousekeeping(store: repository.store).sharedLock(purpose: "firn-restore of \(place.database)", onlyReads: true)
    defer { lock.release() }
    progress.begin("checking prerequisites")
    let source = try RestoreSource(repository, place, isPartial: true)
    let tables = try source.tables(matching: patterns)
    try source.requireLists(of: tables)
    let connection = try Connection(settings, applicationName: "firn-restore")
    try connection.refusePooler()
    try connection.makeCommitsDurable()
    try requireRoom(for: tables, connection)
    var schema: String?
    let plans: [Plan]
    do {
      // Before taking a lock: filled tables are refused before other sessions have to wait.
      if case .emptyTables = destination { try refuseFilled(tables, source, connection) }
      try connection.execute("BEGIN")
      switch destination {
      case .newSchema(let time):
        // Another may begin in the same second.
        let name = "firn_restored_\(time.idStamp)_\(UUID().uuidString.prefix(4))".lowercased()
        try refusePublishing(connection)
        plans = try plansForNew(tables, in: name, of: source)
        try connection.execute("CREATE SCHEMA \(Connection.identifier(name))")
        schema = name
      case .emptyTables:
        // As for pg_restore --disable-triggers: rows come in no order that foreign keys would like.
        let isReplica = try connection.becomeReplica()
        try refuseTriggers(of: tables, isReplica: isReplica, connection)
        plans = try plansForEmpty(isReplica ? tables : referencedFirst(tables, connection), of: source, connection)
      }
      progress.begin("restoring rows", expected: tables.reduce(0) { $0 + $1.bytes })
      try source.namingDamage { for plan in plans { try restore(plan, from: source, connection) } }
      if case .emptyTables = destination { try finish(tables, source, connection) }
      try Interruption.check()
      try connection.commit()
    } catch {
      try? connection.rollback()
      throw error
    }
    return Outcome(
      schema: schema, tables: plans.map { (schema == nil ? $0.load.table.displayName : $0.target.name, $0.load.table.rows) },
      notes: source.notesOfInheritance(patterns.isEmpty ? [] : tables),
      objectsRead: source.reader.objectsRead,
      objectsOfSnapshot: source.reader.table.objects.count)
  }

  private struct Plan {
    let load: TableLoad
    /// The table that is filled.
    let target: QualifiedName
    /// Creates it; nil if it exists.
    let creation: String?
  }

  private func plansForNew(_ tables: [Manifest.Table], in schema: String, of source: RestoreSource) throws -> [Plan] {
    var reasons: [String] = []
    var plans: [Plan] = []
    let data = Dictionary(source.directory.entries.filter { $0.kind == "TABLE DATA" }.map { ($0.file, $0) }, uniquingKeysWith: { first, _ in first })
    let definitions = Dictionary(source.directory.entries.filter { $0.kind == "TABLE" }.map { ($0.oid, $0) }, uniquingKeysWith: { first, _ in first })
    for table in tables {
      guard let entry = data[table.file], let definition = definitions[entry.oid],
        let columns = TableStatement.columns(of: definition.definition), let statement = entry.copyStatement, let file = source.files[table.file]
      else {
        reasons.append("\(table.displayName) is of a form that can't be made alone (it inherits, or is of a type): restore it with --as")
        continue
      }
      let isAlone = tables.count { QualifiedName(schema: "", name: $0.name) == QualifiedName(schema: "", name: table.name) } == 1
      let name = QualifiedName(schema: schema, name: isAlone ? table.name : "\(table.schema).\(table.name)")
      if name.name.utf8.count > 63 { reasons.append("the name \(name.name) is too long: restore it with --as") }
      let target = "\(Connection.identifier(schema)).\(Connection.identifier(name.name))"
      let load = TableLoad(
        table: table, file: file, statement: statement.with(target: source.directory.encoded(target)), tableID: definition.dumpID, isNew: true)
      plans.append(Plan(load: load, target: name, creation: "CREATE TABLE \(target) \(columns)"))
    }
    guard reasons.isEmpty else { throw FirnError.refused(reasons: reasons) }
    return plans
  }

  private func requireRoom(for tables: [Manifest.Table], _ connection: Connection) throws {
    let needed = ServerDisk.least(forDumped: tables.reduce(0) { $0 + $1.bytes })
    guard let disk = try ServerDisk(of: connection), disk.free < needed else { return }
    throw FirnError.refused(reasons: [
      "the rows need about \(megabytes(needed)) at least, and \(disk.folder) has \(megabytes(disk.free)) free: make room"
    ])
  }

  /// Subscribers of all tables would stop at the first row of one that they don't have.
  private func refusePublishing(_ connection: Connection) throws {
    let publications = try connection.subscribedPublicationsOfAllTables()
    guard let first = publications.first else { return }
    throw FirnError.refused(reasons: [
      "publication \(first) publishes all tables, new ones too, and its subscribers would stop at these: restore with --as, and copy from there"
    ])
  }

  /// A trigger would make other rows of those that come, or write elsewhere.
  private func refuseTriggers(of tables: [Manifest.Table], isReplica: Bool, _ connection: Connection) throws {
    let triggers = try connection.triggersOfInserts(into: tables.map(\.qualifiedName), isReplica: isReplica)
    guard !triggers.isEmpty else { return }
    throw FirnError.refused(
      reasons: triggers.map { trigger in
        "trigger \(trigger.name) of \(trigger.table) would run for every row: "
          + (isReplica
            ? "disable it until the rows are there" : "disable it until the rows are there, or connect as a superuser, for whom it does not")
      })
  }

  /// Sorts tables before those with foreign keys to them. Tables in a cycle keep their order.
  private func referencedFirst(_ tables: [Manifest.Table], _ connection: Connection) throws -> [Manifest.Table] {
    var waiting = try connection.references(among: tables.map(\.qualifiedName))
    var rest = tables
    var ordered: [Manifest.Table] = []
    while !rest.isEmpty {
      let next = rest.firstIndex { table in !waiting.contains { $0.from == table.qualifiedName } } ?? 0
      let table = rest.remove(at: next)
      waiting.removeAll { $0.to == table.qualifiedName }
      ordered.append(table)
    }
    return ordered
  }

  private func refuseFilled(_ tables: [Manifest.Table], _ source: RestoreSource, _ connection: Connection) throws {
    let conditions = try Self.conditions(connection)
    // The planner may inline functions of a table's indexes, which find their objects by the path of the restore.
    try connection.useSearchPath(searchPath ?? source.manifest.searchPath ?? "")
    let reasons = try tables.compactMap { table in
      Self.reason(for: table, try connection.state(schema: table.schema, name: table.name, condition: conditions[table.qualifiedName] ?? ""))
    }
    try connection.useSearchPath("")
    guard reasons.isEmpty else { throw FirnError.refused(reasons: reasons) }
  }

  /// A dump holds only those rows of an extension's table that its condition selects; the extension creates the
  /// others.
  private static func conditions(_ connection: Connection) throws -> [QualifiedName: String] {
    Dictionary(try connection.configurationTables().map { ($0.name, $0.condition) }, uniquingKeysWith: { first, _ in first })
  }

  private static func reason(for table: Manifest.Table, _ state: Connection.TableState) -> String? {
    switch state {
    case .missing: "there is no table \(table.displayName)"
    case .filled: "\(table.displayName) has rows: they are never added to"
    case .empty: nil
    }
  }

  /// Foreign keys were not looked at while rows came in no order; sequences go on behind what came, and never back.
  private func finish(_ tables: [Manifest.Table], _ source: RestoreSource, _ connection: Connection) throws {
    progress.begin("checking foreign keys")
    let names = tables.map(\.qualifiedName)
    let reasons = try connection.danglingReferences(of: names)
    guard reasons.isEmpty else { throw FirnError.refused(reasons: reasons) }
    let owned = try connection.ownedSequences(of: names)
    for sequence in source.manifest.sequences {
      guard let value = sequence.lastValue, patterns.isEmpty || owned.contains(QualifiedName(schema: sequence.schema, name: sequence.name)) else {
        continue
      }
      try connection.advanceSequence(schema: sequence.schema, name: sequence.name, to: value)
    }
  }

  /// Locks the tables, so that they stay as empty as they are found.
  private func plansForEmpty(_ tables: [Manifest.Table], of source: RestoreSource, _ connection: Connection) throws -> [Plan] {
    let data = Dictionary(source.directory.entries.filter { $0.kind == "TABLE DATA" }.map { ($0.file, $0) }, uniquingKeysWith: { first, _ in first })
    try connection.execute("SET LOCAL lock_timeout = '5s'")
    for table in tables { try connection.lockForFilling(schema: table.schema, name: table.name) }
    try refuseFilled(tables, source, connection)
    return tables.compactMap { table in
      // Partitions may be filled through their root, as the archive's statement shows.
      guard let statement = data[table.file]?.copyStatement, let file = source.files[table.file] else { return nil }
      let load = TableLoad(table: table, file: file, statement: statement, tableID: nil, isNew: false)
      return Plan(load: load, target: table.qualifiedName, creation: nil)
    }
  }

  private func restore(_ plan: Plan, from source: RestoreSource, _ connection: Connection) throws {
    if let creation = plan.creation { try connection.execute(creation) }
    let rows = try connection.inSession(of: source.directory, searchPath: searchPath ?? source.manifest.searchPath) {
      try plan.load.send(over: connection, freezes: plan.load.isNew, from: source.reader, progress: progress, check: Interruption.check)
    }
    let wanted = plan.load.table.rows
    if rows != wanted {
      throw FirnError.restoredCopyDiffers(differences: ["\(plan.load.table.displayName): \(rows) rows instead of \(wanted)"])
    }
  }
}
