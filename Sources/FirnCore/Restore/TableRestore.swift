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
    package let objectsRead: Int
    package let objectsOfSnapshot: Int
  }

  private let repository: Repository
  private let place: SnapshotPlace
  private let settings: ConnectionSettings
  /// All tables where there is none.
  private let patterns: [TablePattern]
  private let progress: WorkProgress

  package init(repository: Repository, place: SnapshotPlace, settings: ConnectionSettings, patterns: [TablePattern], progress: WorkProgress) {
    self.repository = repository
    self.place = place
    self.settings = settings
    self.patterns = patterns
    self.progress = progress
  }

  /// - Throws: `FirnError.refused`, `.restoredCopyDiffers`, what the server and reading the snapshot throw. Then nothing was made.
  package func run(into destination: Destination) throws -> Outcome {
    let lock = try StoreMaintenance(store: repository.store).sharedLock(purpose: "firn-restore of \(place.database)", onlyReads: true)
    defer { lock.release() }
    progress.begin("looking before leaping")
    let source = try RestoreSource(repository, place)
    let tables = source.manifest.tables.filter { table in
      patterns.isEmpty || patterns.contains { $0.matches(schema: table.schema, name: table.name) }
    }
    try source.requireMatches(patterns)
    let connection = try Connection(settings, applicationName: "firn-restore")
    try connection.refusePooler()
    try requireRoom(for: tables, connection)
    var schema: String?
    let plans: [Plan]
    do {
      // Without a lock first: what has rows is refused before anybody waits for us.
      if case .emptyTables = destination { try refuseFilled(tables, connection) }
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
      schema: schema, tables: plans.map { (schema == nil ? $0.table.displayName : $0.target.name, $0.table.rows) },
      objectsRead: source.reader.objectsRead,
      objectsOfSnapshot: source.reader.table.objects.count)
  }

  private struct Plan {
    let table: Manifest.Table
    let target: QualifiedName
    /// What makes it; nil where it is there.
    let creation: String?
    let copy: String
  }

  private func plansForNew(_ tables: [Manifest.Table], in schema: String, of source: RestoreSource) throws -> [Plan] {
    var reasons: [String] = []
    var plans: [Plan] = []
    let data = Dictionary(source.directory.entries.filter { $0.kind == "TABLE DATA" }.map { ($0.file, $0) }, uniquingKeysWith: { first, _ in first })
    let definitions = Dictionary(source.directory.entries.filter { $0.kind == "TABLE" }.map { ($0.oid, $0) }, uniquingKeysWith: { first, _ in first })
    for table in tables {
      guard let entry = data[table.file], let definition = definitions[entry.oid],
        let columns = TableStatement.columns(of: definition.definition), let copyColumns = TableStatement.copyColumns(of: entry.copyStatement)
      else {
        reasons.append("\(table.displayName) is of a form that can't be made alone (it inherits, or is of a type): restore it with --as")
        continue
      }
      let isAlone = tables.count { QualifiedName(schema: "", name: $0.name) == QualifiedName(schema: "", name: table.name) } == 1
      let name = QualifiedName(schema: schema, name: isAlone ? table.name : "\(table.schema).\(table.name)")
      if name.name.utf8.count > 63 { reasons.append("the name \(name.name) is too long: restore it with --as") }
      let target = "\(Connection.identifier(schema)).\(Connection.identifier(name.name))"
      plans.append(
        Plan(table: table, target: name, creation: "CREATE TABLE \(target) \(columns)", copy: "COPY \(target)\(copyColumns) FROM STDIN"))
    }
    guard reasons.isEmpty else { throw FirnError.refused(reasons: reasons) }
    return plans
  }

  private func requireRoom(for tables: [Manifest.Table], _ connection: Connection) throws {
    let needed = ServerDisk.least(forDumped: tables.reduce(0) { $0 + $1.bytes })
    guard let disk = try ServerDisk(of: connection), disk.free < needed else { return }
    throw FirnError.refused(reasons: [
      "the rows need about \(ServerDisk.megabytes(needed)) at least, and \(disk.folder) has \(ServerDisk.megabytes(disk.free)) free: make room"
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
    let triggers = try connection.triggersOfInserts(into: tables.map(Self.name), isReplica: isReplica)
    guard !triggers.isEmpty else { return }
    throw FirnError.refused(
      reasons: triggers.map { trigger in
        "trigger \(trigger.name) of \(trigger.table) would run for every row: "
          + (isReplica
            ? "disable it until the rows are there" : "disable it until the rows are there, or connect as a superuser, for whom it does not")
      })
  }

  private static func name(_ table: Manifest.Table) -> QualifiedName { QualifiedName(schema: table.schema, name: table.name) }

  /// Tables before those whose foreign keys point to them. Of some that point to each other, none is first.
  private func referencedFirst(_ tables: [Manifest.Table], _ connection: Connection) throws -> [Manifest.Table] {
    var waiting = try connection.references(among: tables.map(Self.name))
    var rest = tables
    var ordered: [Manifest.Table] = []
    while !rest.isEmpty {
      let next = rest.firstIndex { table in !waiting.contains { $0.from == Self.name(table) } } ?? 0
      let table = rest.remove(at: next)
      waiting.removeAll { $0.to == Self.name(table) }
      ordered.append(table)
    }
    return ordered
  }

  private func refuseFilled(_ tables: [Manifest.Table], _ connection: Connection) throws {
    let reasons = try tables.compactMap { table in
      Self.reason(for: table, try connection.state(schema: table.schema, name: table.name))
    }
    guard reasons.isEmpty else { throw FirnError.refused(reasons: reasons) }
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
    let names = tables.map(Self.name)
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
    var reasons: [String] = []
    var plans: [Plan] = []
    let data = Dictionary(source.directory.entries.filter { $0.kind == "TABLE DATA" }.map { ($0.file, $0) }, uniquingKeysWith: { first, _ in first })
    try connection.execute("SET LOCAL lock_timeout = '5s'")
    for table in tables {
      try connection.lockForFilling(schema: table.schema, name: table.name)
      if let reason = Self.reason(for: table, try connection.state(schema: table.schema, name: table.name)) { reasons.append(reason) }
      // Partitions may be filled through their root: the archive's own statement tells.
      guard let copy = data[table.file]?.copyStatement, copy.hasPrefix("COPY ") else { continue }
      plans.append(Plan(table: table, target: QualifiedName(schema: table.schema, name: table.name), creation: nil, copy: copy))
    }
    guard reasons.isEmpty else { throw FirnError.refused(reasons: reasons) }
    return plans
  }

  private func restore(_ plan: Plan, from source: RestoreSource, _ connection: Connection) throws {
    guard let file = source.files[plan.table.file] else { return }
    progress.show(item: plan.table.displayName)
    if let creation = plan.creation { try connection.execute(creation) }
    var held: [UInt8] = []
    let end = StreamedFile.tableEnd
    try connection.copyIn(plan.copy, encoding: source.manifest.properties.encoding) { send in
      try source.reader.read(file) { piece in
        try Interruption.check()
        // The lines that end the rows are for psql.
        held.append(piece)
        if held.count > end.count {
          try send(held.span.extracting(first: held.count - end.count))
          held.removeFirst(held.count - end.count)
        }
        progress.advance(by: piece.count)
      }
    }
    guard held == end else { throw FirnError.unsoundArchive(reason: "\(plan.table.displayName) is cut off") }
    let rows = try connection.rowCount(schema: plan.target.schema, table: plan.target.name)
    if rows != plan.table.rows && plan.table.loadedThrough == nil {
      throw FirnError.restoredCopyDiffers(differences: ["\(plan.table.displayName): \(rows ?? 0) rows instead of \(plan.table.rows)"])
    }
  }
}

/// Takes the statements of an archive apart.
package enum TableStatement {
  /// The columns of a `CREATE TABLE`, in their parentheses; nil for a table that has others besides.
  package static func columns(of definition: String) -> String? {
    guard let statement = GlobalsScript(definition).statements.first else { return nil }
    var rest = statement[...].unicodeScalars
    for prefix in ["CREATE UNLOGGED TABLE ", "CREATE TABLE "] where rest.starts(with: prefix.unicodeScalars) {
      rest = rest.dropFirst(prefix.unicodeScalars.count)
      guard skipName(&rest), rest.starts(with: " (".unicodeScalars) else { return nil }
      rest = rest.dropFirst(1)
      var depth = 0
      var quote: Unicode.Scalar?
      var columns = String.UnicodeScalarView()
      while let scalar = rest.popFirst() {
        columns.append(scalar)
        if let open = quote {
          if scalar == open { quote = nil }
          continue
        }
        switch scalar {
        case "'", "\"": quote = scalar
        case "(": depth += 1
        case ")": depth -= 1
        default: break
        }
        if depth == 0 { return rest.starts(with: "\nINHERITS".unicodeScalars) ? nil : String(columns) }
      }
      return nil
    }
    return nil
  }

  /// What stands between name and `FROM` in a `COPY`.
  package static func copyColumns(of statement: String) -> String? {
    var rest = statement[...].unicodeScalars
    guard rest.starts(with: "COPY ".unicodeScalars) else { return nil }
    rest = rest.dropFirst(5)
    guard skipName(&rest) else { return nil }
    let text = String(rest)
    guard let end = text.range(of: " FROM stdin;", options: .backwards) else { return nil }
    return String(text[..<end.lowerBound])
  }

  /// Steps over `schema.name`, with quotes or without.
  private static func skipName(_ rest: inout Substring.UnicodeScalarView) -> Bool {
    var isQuoted = false
    var length = 0
    while let scalar = rest.first {
      if scalar == "\"" { isQuoted.toggle() }
      if !isQuoted && (scalar == " " || scalar == "(") { break }
      rest.removeFirst()
      length += 1
    }
    return length > 0 && !isQuoted
  }
}
