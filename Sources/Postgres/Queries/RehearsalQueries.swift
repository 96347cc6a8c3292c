/// The parts of a database's schema that a migration may change, by OIDs, which stay the same when objects are
/// renamed.
package struct SchemaSurvey: Sendable {
  package struct Table: Sendable {
    package let name: String
    package let fileNode: UInt32
    package let bytes: Int64
    package let isEmpty: Bool
    package let changes: RowChanges
  }

  package struct Column: Sendable {
    package let table: UInt32
    package let number: Int
    package let name: String
    package let isNotNull: Bool
    package let hasDefault: Bool
    package let isDropped: Bool
  }

  package struct Index: Sendable {
    package let table: UInt32
    package let name: String
  }

  package struct Constraint: Sendable {
    package let table: UInt32
    package let name: String
    /// As `pg_constraint.contype`.
    package let kind: String
    package let isValidated: Bool
  }

  /// Rows as the server's statistics count them, since it was made.
  package struct RowChanges: Sendable {
    package let inserted: Int64
    package let updated: Int64
    package let deleted: Int64
  }

  package var tables: [UInt32: Table] = [:]
  package var columns: [Column] = []
  package var indexes: [UInt32: Index] = [:]
  package var constraints: [UInt32: Constraint] = [:]
  /// How many transactions wrote since the server was made.
  package var transactions: Int64 = 0
  /// By the server's clock, as SQL has it.
  package var takenAt = ""
}

/// A lock that a session holds on a table.
package struct HeldLock: Sendable, Hashable {
  package let process: Int32
  package let transactionStart: String
  package let table: UInt32
  /// As `pg_locks.mode`.
  package let mode: String
}

/// A statement that changed the schema, as the recorder saw it when it ended.
package struct RecordedCommand: Sendable {
  package let tag: String
  package let object: UInt32
  package let identity: String
  package let statement: String
}

/// The records of a rehearsal's event triggers.
package struct Recording: Sendable {
  package var commands: [RecordedCommand] = []
  /// Locks that were held when a statement ended, and for how long at least.
  package var locks: [(lock: HeldLock, held: Duration)] = []
  /// Constraints that were once there and not validated.
  package var onceUnvalidated: Set<UInt32> = []
  /// Columns (table and number) that a validated CHECK kept from being null before they were declared NOT NULL.
  package var checkedColumns: Set<[Int]> = []
  /// Tables that ALTER TABLE rewrote.
  package var rewritten: Set<UInt32> = []
}

/// About a database in a server of our own, in which a migration is tried.
extension Connection {
  package func schemaSurvey() throws -> SchemaSurvey {
    let mine = "n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' AND n.nspname <> 'firn_rehearsal'"
    func number(_ text: String??) -> Int64 { (text ?? nil).flatMap { Int64($0) } ?? 0 }
    func oid(_ text: String?) -> UInt32 { text.flatMap { UInt32($0) } ?? 0 }
    var survey = SchemaSurvey()
    for row in try rows(
      """
      SELECT c.oid, pg_catalog.format('%I.%I', n.nspname, c.relname), coalesce(pg_catalog.pg_relation_filenode(c.oid), 0),
        pg_catalog.pg_total_relation_size(c.oid), coalesce(s.n_tup_ins, 0), coalesce(s.n_tup_upd, 0), coalesce(s.n_tup_del, 0),
        pg_catalog.pg_relation_size(c.oid)
      FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        LEFT JOIN pg_catalog.pg_stat_user_tables s ON s.relid = c.oid
      WHERE c.relkind IN ('r', 'p', 'm') AND \(mine)
      """)
    {
      survey.tables[oid(row[0])] = .init(
        name: row[1] ?? "", fileNode: oid(row[2]), bytes: number(row[3]), isEmpty: number(row[7]) == 0,
        changes: .init(inserted: number(row[4]), updated: number(row[5]), deleted: number(row[6])))
    }
    survey.columns = try rows(
      """
      SELECT a.attrelid, a.attnum, a.attname, a.attnotnull, a.atthasdef, a.attisdropped FROM pg_catalog.pg_attribute a
        JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
      WHERE a.attnum > 0 AND c.relkind IN ('r', 'p') AND \(mine) ORDER BY 1, 2
      """
    ).map { row in
      .init(
        table: oid(row[0]), number: Int(number(row[1])), name: row[2] ?? "", isNotNull: row[3] == "t", hasDefault: row[4] == "t",
        isDropped: row[5] == "t")
    }
    for row in try rows(
      """
      SELECT i.indexrelid, i.indrelid, pg_catalog.format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_index i
        JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE \(mine)
      """)
    {
      survey.indexes[oid(row[0])] = .init(table: oid(row[1]), name: row[2] ?? "")
    }
    for row in try rows("SELECT oid, conrelid, conname, contype, convalidated FROM pg_catalog.pg_constraint WHERE conrelid <> 0") {
      survey.constraints[oid(row[0])] = .init(table: oid(row[1]), name: row[2] ?? "", kind: row[3] ?? "", isValidated: row[4] == "t")
    }
    survey.takenAt = try value("SELECT pg_catalog.clock_timestamp()") ?? ""
    survey.transactions = number(try value("SELECT pg_catalog.pg_current_xact_id()::text::int8"))
    return survey
  }

  /// The most rows of a table that one transaction wrote since then, of those that are there.
  /// - Parameter table: quoted.
  package func largestChange(of table: String, since time: String) throws -> Int64 {
    // Subtransactions have the time of the whole transaction.
    try value(
      """
      SELECT coalesce(max(rows), 0) FROM (SELECT count(*) AS rows FROM ONLY \(table)
        WHERE pg_catalog.pg_xact_commit_timestamp(xmin) > $1::pg_catalog.timestamptz GROUP BY pg_catalog.pg_xact_commit_timestamp(xmin)) written
      """, [time]
    ).flatMap { Int64($0) } ?? 0
  }

  /// Locks that keep others from reading or writing a table, held by the sessions of one application.
  package func strongLocks(ofApplication name: String) throws -> [HeldLock] {
    try rows(
      """
      SELECT l.pid, a.xact_start, l.relation, l.mode FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
      WHERE l.locktype = 'relation' AND l.granted AND a.application_name = $1 AND a.datname = pg_catalog.current_database()
        AND l.mode IN (\(Self.strongModes))
      """, [name]
    ).map { HeldLock(process: Int32($0[0] ?? "") ?? 0, transactionStart: $0[1] ?? "", table: UInt32($0[2] ?? "") ?? 0, mode: $0[3] ?? "") }
  }

  /// All that are stronger than SHARE UPDATE EXCLUSIVE.
  private static let strongModes = "'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'"

  /// Has every change of the schema recorded from here on, by event triggers.
  package func beginRecording() throws {
    try execute(
      """
      CREATE SCHEMA firn_rehearsal;
      CREATE TABLE firn_rehearsal.commands (number serial, tag text, object oid, identity text, statement text);
      CREATE TABLE firn_rehearsal.locks (process int, started text, relation oid, mode text, held float8);
      CREATE TABLE firn_rehearsal.unvalidated (id oid PRIMARY KEY);
      CREATE TABLE firn_rehearsal.checked (relation oid, number int, PRIMARY KEY (relation, number));
      CREATE TABLE firn_rehearsal.rewritten (relation oid);
      CREATE FUNCTION firn_rehearsal.command() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
      BEGIN
        INSERT INTO firn_rehearsal.commands (tag, object, identity, statement)
          SELECT command_tag, objid, object_identity, pg_catalog.current_query() FROM pg_catalog.pg_event_trigger_ddl_commands();
        INSERT INTO firn_rehearsal.locks SELECT pid, pg_catalog.now()::text, relation, mode,
            extract(epoch FROM pg_catalog.clock_timestamp() - pg_catalog.statement_timestamp())
          FROM pg_catalog.pg_locks WHERE pid = pg_catalog.pg_backend_pid() AND locktype = 'relation' AND granted AND mode IN (\(Self.strongModes));
        INSERT INTO firn_rehearsal.unvalidated SELECT oid FROM pg_catalog.pg_constraint WHERE NOT convalidated ON CONFLICT DO NOTHING;
        INSERT INTO firn_rehearsal.checked SELECT conrelid, conkey[1] FROM pg_catalog.pg_constraint
          WHERE contype = 'c' AND convalidated AND cardinality(conkey) = 1 AND pg_catalog.pg_get_constraintdef(oid) ~* 'IS NOT NULL\\)+$'
          ON CONFLICT DO NOTHING;
      END $$;
      CREATE FUNCTION firn_rehearsal.rewrite() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
      BEGIN INSERT INTO firn_rehearsal.rewritten VALUES (pg_catalog.pg_event_trigger_table_rewrite_oid()); END $$;
      CREATE EVENT TRIGGER firn_rehearsal_command ON ddl_command_end EXECUTE FUNCTION firn_rehearsal.command();
      CREATE EVENT TRIGGER firn_rehearsal_rewrite ON table_rewrite EXECUTE FUNCTION firn_rehearsal.rewrite();
      """)
  }

  /// Returns the records and removes the recorder.
  package func endRecording() throws -> Recording {
    try execute("DROP EVENT TRIGGER firn_rehearsal_command; DROP EVENT TRIGGER firn_rehearsal_rewrite")
    func oid(_ text: String?) -> UInt32 { text.flatMap { UInt32($0) } ?? 0 }
    var recording = Recording()
    recording.commands = try rows("SELECT tag, object, identity, statement FROM firn_rehearsal.commands ORDER BY number").map {
      RecordedCommand(tag: $0[0] ?? "", object: oid($0[1]), identity: $0[2] ?? "", statement: $0[3] ?? "")
    }
    recording.locks = try rows("SELECT process, started, relation, mode, held FROM firn_rehearsal.locks").map { row in
      (
        HeldLock(process: Int32(row[0] ?? "") ?? 0, transactionStart: row[1] ?? "", table: oid(row[2]), mode: row[3] ?? ""),
        .seconds(row[4].flatMap(Double.init) ?? 0)
      )
    }
    recording.onceUnvalidated = Set(try rows("SELECT id FROM firn_rehearsal.unvalidated").map { oid($0[0]) })
    recording.checkedColumns = Set(try rows("SELECT relation, number FROM firn_rehearsal.checked").map { [Int(oid($0[0])), Int($0[1] ?? "") ?? 0] })
    recording.rewritten = Set(try rows("SELECT relation FROM firn_rehearsal.rewritten").map { oid($0[0]) })
    try execute("SET client_min_messages = error; DROP SCHEMA firn_rehearsal CASCADE")
    return recording
  }

  package func mayLogIn(_ role: String) throws -> Bool {
    try value("SELECT rolcanlogin FROM pg_catalog.pg_roles WHERE rolname = $1", [role]) == "t"
  }
}
