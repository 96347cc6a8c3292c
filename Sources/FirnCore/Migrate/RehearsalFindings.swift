internal import Foundation
internal import Platform
internal import Postgres

/// Finds the harmful effects of a rehearsed migration from what it did, never from its text. The only exception is
/// whether an index was built CONCURRENTLY, which leaves no other trace.
struct RehearsalFindings {
  typealias Finding = RehearsalReport.Finding

  let before: SchemaSurvey
  let after: SchemaSurvey
  let recording: Recording
  let locks: [RehearsalReport.Lock]
  let expectedDrops: Set<String>
  /// The most rows that one transaction wrote, of tables of which many were changed.
  let largestChanges: [UInt32: Int64]

  /// Rows that one transaction may change without keeping others waiting for long.
  static let rowsATransaction: Int64 = 10_000

  var all: [Finding] { rewrites + indexes + validations + notNulls + defaults + columns + tables + rows }

  /// A table that existed before and had rows: changes to other tables block no one.
  private func busyTable(_ oid: UInt32) -> SchemaSurvey.Table? { before.tables[oid].flatMap { $0.isEmpty ? nil : $0 } }

  /// - Parameter mode: the lock that the change takes; other modes are used if it was not observed.
  private func held(_ table: String, _ mode: RehearsalReport.Mode = .accessExclusive) -> String {
    let all = locks.filter { $0.table == table }
    guard let lock = all.first(where: { $0.mode == mode }) ?? all.max(by: { $0.held < $1.held }) else { return "" }
    return "; \(lock.mode.effect) for \(lock.held.milliseconds) ms (\(lock.mode.rawValue))"
  }

  private var rewrites: [Finding] {
    before.tables.sorted { $0.value.name < $1.value.name }.compactMap { oid, table in
      guard !table.isEmpty, let now = after.tables[oid], now.fileNode != table.fileNode || recording.rewritten.contains(oid) else { return nil }
      let wasEmptied = now.isEmpty && !recording.rewritten.contains(oid)
      return Finding(
        kind: wasEmptied ? .rows : .rewrite, object: table.name,
        text: wasEmptied
          ? "all rows of \(table.name) were removed" + held(table.name)
          : "\(table.name) was rewritten, \(table.bytes / 1_000_000) MB of it" + held(table.name),
        advice: wasEmptied
          ? "make sure that this is meant"
          : "add a new column without a default, backfill it in batches (firn-migrate backfill), then swap the two columns", isExpected: false)
    }
  }

  private var indexes: [Finding] {
    after.indexes.sorted { $0.value.name < $1.value.name }.compactMap { oid, index in
      guard before.indexes[oid] == nil, let table = busyTable(index.table) else { return nil }
      let commands = recording.commands.filter { $0.tag == "CREATE INDEX" && $0.identity == index.name }
      // Indexes of constraints and of rewritten tables have no such statement.
      if commands.contains(where: { $0.statement.range(of: #"\bconcurrently\b"#, options: [.regularExpression, .caseInsensitive]) != nil }) {
        return nil
      }
      return Finding(
        kind: .index, object: index.name, text: "\(index.name) was built while \(table.name) was locked" + held(table.name, .share),
        advice: "CREATE INDEX CONCURRENTLY, outside of a transaction: disable_ddl_transaction! and algorithm: :concurrently", isExpected: false)
    }
  }

  private var validations: [Finding] {
    after.constraints.sorted { $0.value.name < $1.value.name }.compactMap { oid, constraint in
      guard before.constraints[oid] == nil, ["c", "f"].contains(constraint.kind), constraint.isValidated,
        !recording.onceUnvalidated.contains(oid), let table = busyTable(constraint.table)
      else { return nil }
      return Finding(
        kind: .validation, object: "\(table.name): \(constraint.name)",
        text: "constraint \(constraint.name) looked at every row of \(table.name) while it was locked"
          + held(table.name, constraint.kind == "f" ? .shareRowExclusive : .accessExclusive),
        advice: "add it NOT VALID (validate: false), then VALIDATE CONSTRAINT in a migration of its own", isExpected: false)
    }
  }

  private typealias Columns = [[Int]: SchemaSurvey.Column]

  private static func key(_ column: SchemaSurvey.Column) -> [Int] { [Int(column.table), column.number] }

  private static func columns(of survey: SchemaSurvey) -> Columns {
    Dictionary(survey.columns.map { (key($0), $0) }, uniquingKeysWith: { first, _ in first })
  }

  private var notNulls: [Finding] {
    let known = Self.columns(of: before)
    return after.columns.compactMap { now in
      guard let old = known[Self.key(now)], !old.isNotNull, now.isNotNull, !now.isDropped, let table = busyTable(now.table),
        !recording.checkedColumns.contains(Self.key(now))
      else { return nil }
      return Finding(
        kind: .notNull, object: "\(table.name).\(now.name)",
        text: "\(table.name).\(now.name) was declared NOT NULL, for which every row was looked at" + held(table.name),
        advice: "add CHECK (\(now.name) IS NOT NULL) NOT VALID, validate it, then SET NOT NULL, which believes it, then drop it", isExpected: false)
    }
  }

  private var defaults: [Finding] {
    let known = Self.columns(of: before)
    return after.columns.compactMap { now in
      guard known[Self.key(now)] == nil, now.hasDefault, now.isNotNull, !now.isDropped, let table = busyTable(now.table) else { return nil }
      let wasRewritten = recording.rewritten.contains(now.table)
      return Finding(
        kind: .columnDefault, object: "\(table.name).\(now.name)",
        text: "\(table.name).\(now.name) was added with a default and NOT NULL in one go"
          + (wasRewritten ? ", which rewrote every row" : "; as the default is constant, no row was touched") + held(table.name),
        advice: "add the column alone, then set the default, backfill in batches, and declare it NOT NULL last", isExpected: false)
    }
  }

  private var columns: [Finding] {
    let now = Self.columns(of: after)
    return before.columns.compactMap { old in
      guard !old.isDropped, let table = before.tables[old.table], after.tables[old.table] != nil, let new = now[Self.key(old)] else { return nil }
      let name = "\(table.name).\(old.name)"
      if new.isDropped {
        return Finding(
          kind: .drop, object: name, text: "column \(name) was dropped: an application that still names it fails",
          advice: "ignore it in the model (ignored_columns), deploy that, and drop it with the next release; then say --expect-drop \(name)",
          isExpected: expectedDrops.contains(name))
      }
      guard new.name != old.name else { return nil }
      return Finding(
        kind: .rename, object: name, text: "column \(name) is now called \(new.name): an application that still names it fails",
        advice: "add the new column, write both, backfill, read the new one, and drop the old one with a later release",
        isExpected: expectedDrops.contains(name))
    }
  }

  private var tables: [Finding] {
    before.tables.sorted { $0.value.name < $1.value.name }.compactMap { oid, table in
      guard let now = after.tables[oid] else {
        return Finding(
          kind: .drop, object: table.name, text: "table \(table.name) was dropped: an application that still names it fails",
          advice: "stop using it, deploy that, and drop it with the next release; then say --expect-drop \(table.name)",
          isExpected: expectedDrops.contains(table.name))
      }
      guard now.name != table.name else { return nil }
      return Finding(
        kind: .rename, object: table.name, text: "table \(table.name) is now called \(now.name): an application that still names it fails",
        advice: "leave a view of the old name until every application uses the new one", isExpected: expectedDrops.contains(table.name))
    }
  }

  private var rows: [Finding] {
    let transactions = max(1, after.transactions - before.transactions - 1)
    return before.tables.sorted { $0.value.name < $1.value.name }.compactMap { oid, table in
      guard let now = after.tables[oid]?.changes else { return nil }
      let (updated, deleted) = (now.updated - table.changes.updated, now.deleted - table.changes.deleted)
      // For deleted rows it is unknown which transaction deleted them.
      let atOnce = max(min(updated, largestChanges[oid] ?? 0), deleted / transactions)
      guard atOnce > Self.rowsATransaction else { return nil }
      return Finding(
        kind: .rows, object: table.name,
        text: "\(updated + deleted) rows of \(table.name) were changed, \(atOnce) of them in one transaction: they stay locked until its end",
        advice: "in_batches, each its own transaction, or firn-migrate backfill --table \(table.name)", isExpected: false)
    }
  }
}
