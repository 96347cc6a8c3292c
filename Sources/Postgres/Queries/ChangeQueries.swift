internal import Foundation

/// A table's files on the server's disk, and a digest of everything else that the COPY text of its rows depends on.
package struct TableStorage: Sendable {
  package let oid: UInt32
  package let schema: String
  package let name: String
  /// The number of its main file.
  package let filenode: UInt32
  package let tablespace: UInt32
  /// Bytes of its main file.
  package let bytes: Int64
  /// The number of its TOAST table's file.
  package let toast: UInt32?
  package let fingerprint: String
  /// Why its rows are read each time; nil if they need not be.
  package let reasonToRead: String?
  /// Bytes of its TOAST table's main file.
  package let toastBytes: Int64

  package init(
    oid: UInt32, schema: String, name: String, filenode: UInt32, tablespace: UInt32, bytes: Int64, toast: UInt32?, fingerprint: String,
    reasonToRead: String?, toastBytes: Int64 = 0
  ) {
    (self.oid, self.schema, self.name, self.filenode, self.tablespace) = (oid, schema, name, filenode, tablespace)
    (self.bytes, self.toast, self.fingerprint, self.reasonToRead, self.toastBytes) = (bytes, toast, fingerprint, reasonToRead, toastBytes)
  }
}

/// The files of a table and its TOAST table.
package struct TableFiles: Sendable {
  /// Their paths, sizes and times.
  package let text: String
  /// Whether all were last changed some seconds ago: the server shows whole seconds.
  package let areOld: Bool
}

/// A transaction that changes a relation, and has not ended.
package struct RelationWriter: Hashable, Sendable {
  package let relation: UInt32
  package let transaction: String
}

/// The part of the write-ahead log that a WAL summary covers.
package struct SummarizedRange: Sendable, Equatable {
  package let start: LogPosition
  package let end: LogPosition

  package init(start: LogPosition, end: LogPosition) { (self.start, self.end) = (start, end) }
}

/// The files of a database that WAL summaries name.
package struct TouchedFiles: Sendable {
  /// Numbers of main files.
  package var filenodes: Set<UInt32> = []
  /// Whether all of the database may have changed, as by a move to another tablespace.
  package var isAll = false
  /// The ranges of blocks that changed, by number, of the files that were asked for, also if none changed.
  package var ranges: [UInt32: Set<Int>] = [:]

  package init() {}
}

/// The questions of incremental snapshots (PostgreSQL 17 and later, "WAL Summarization Information Functions" of its documentation).
extension Connection {
  /// Reasons why WAL summaries do not show all changes; empty if there is none.
  package func obstaclesToIncremental() throws -> [String] {
    guard serverVersion >= 170000 else { return ["PostgreSQL \(serverMajor) has no WAL summaries, which came with version 17"] }
    let row =
      try rows(
        """
        SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('summarize_wal'), pg_catalog.current_setting('wal_level'),
          pg_catalog.current_setting('fsync'), pg_catalog.current_setting('full_page_writes')
        """
      ).first ?? []
    guard row.count == 5 else { return ["the server's settings are unknown"] }
    if row[0] == "t" { return ["the server is a standby"] }
    var found: [String] = []
    if row[1] != "on" { found.append("summarize_wal is off") }
    if row[2] != "replica" && row[2] != "logical" { found.append("wal_level is \(row[2] ?? "unknown")") }
    if row[3] != "on" { found.append("fsync is off") }
    if row[4] != "on" { found.append("full_page_writes is off") }
    return found
  }

  /// Whether the server shows when a summary was written.
  private var showsTimeOfSummaries: Bool { serverVersion >= 180000 }

  /// The predefined roles that this role would have to be a member of: for CHECKPOINT, and to see when summaries were written.
  package func rolesMissingForIncremental() throws -> [String] {
    guard serverVersion >= 170000 else { return [] }
    let times = showsTimeOfSummaries ? "pg_catalog.has_function_privilege('pg_catalog.pg_ls_summariesdir()', 'EXECUTE')" : "true"
    let row = try rows("SELECT pg_catalog.pg_has_role(pg_catalog.current_user(), 'pg_checkpoint', 'USAGE'), \(times)").first ?? []
    return zip(["pg_checkpoint", "pg_monitor"], row).filter { $1 != "t" }.map(\.0)
  }

  /// Whether a role may look at the times of files in this database. False if there is no such role.
  package func maySeeFileTimes(role: String) throws -> Bool {
    try value(
      """
      SELECT pg_catalog.has_function_privilege(oid, 'pg_catalog.pg_stat_file(text, boolean)', 'EXECUTE') FROM pg_catalog.pg_roles
      WHERE rolname = \(Self.literal(role))
      """) == "t"
  }

  /// Why changes cannot be found by the times of files, and whether a right would help; nil if they can.
  package func obstacleToFileTimes() throws -> (reason: String, canBeGranted: Bool)? {
    let row =
      try rows(
        """
        SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.has_function_privilege('pg_catalog.pg_stat_file(text, boolean)', 'EXECUTE'),
          (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user)
        """
      ).first ?? []
    guard row.count == 3, row[0] == "f" else { return ("the server is a standby", false) }
    if row[1] != "t" { return ("\(user) may not execute pg_stat_file(text, boolean)", serverVersion >= 150000 || row[2] == "t") }
    if row[2] == "t" { return nil }
    guard serverVersion >= 150000 else { return ("\(user) is no superuser, and may make no checkpoint", false) }
    return try value("SELECT pg_catalog.pg_has_role(pg_catalog.current_user(), 'pg_checkpoint', 'USAGE')") == "t"
      ? nil : ("\(user) is not a member of pg_checkpoint", true)
  }

  /// The files of users' tables, by the tables' object ids. A table whose files can't be looked at is left out.
  package func tableFiles() throws -> [UInt32: TableFiles] {
    let found = try rows(
      """
      WITH tables AS (
        SELECT c.oid, c.reltoastrelid FROM pg_catalog.pg_class c WHERE c.relkind = 'r' AND c.oid >= 16384 AND c.relpersistence = 'p'),
      files AS MATERIALIZED (
        SELECT t.oid, r.relation, pg_catalog.pg_relation_filepath(r.relation) AS path, pg_catalog.pg_relation_size(r.relation, 'main') AS bytes
        FROM tables t CROSS JOIN LATERAL (SELECT t.oid UNION ALL SELECT t.reltoastrelid WHERE t.reltoastrelid <> 0) r(relation))
      SELECT f.oid, pg_catalog.string_agg(pg_catalog.concat_ws(':', f.path, n, coalesce(s.size::text, 'none'), pg_catalog.date_part('epoch', s.modification),
          pg_catalog.date_part('epoch', s.change)), ' ' ORDER BY f.relation, n),
        coalesce(pg_catalog.bool_and(s.change <= pg_catalog.clock_timestamp() - interval '3 seconds'), false),
        pg_catalog.bool_or(n = 0 AND s.size IS NULL)
      FROM files f CROSS JOIN LATERAL pg_catalog.generate_series(0, f.bytes / pg_catalog.pg_size_bytes(pg_catalog.current_setting('segment_size'))) n
      CROSS JOIN LATERAL pg_catalog.pg_stat_file(f.path || CASE WHEN n = 0 THEN '' ELSE '.' || n END, true) s
      GROUP BY 1
      """)
    return Dictionary(
      found.filter { $0[3] != "t" }.compactMap { row in
        guard let oid = row[0].flatMap({ UInt32($0) }), let text = row[1] else { return nil }
        return (oid, TableFiles(text: text, areOld: row[2] == "t"))
      }, uniquingKeysWith: { first, _ in first })
  }

  /// Runs a body in a transaction that goes on if it fails.
  package func withinSavepoint<Result>(_ body: () throws -> Result) throws -> Result {
    try execute("SAVEPOINT firn")
    do {
      let result = try body()
      try execute("RELEASE SAVEPOINT firn")
      return result
    } catch {
      try execute("ROLLBACK TO SAVEPOINT firn; RELEASE SAVEPOINT firn")
      throw error
    }
  }

  package func databaseOID() throws -> UInt32? {
    try value("SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()").flatMap { UInt32($0) }
  }

  /// The place of the next byte of the write-ahead log.
  package func logInsertPosition() throws -> LogPosition? {
    try value("SELECT pg_catalog.pg_current_wal_insert_lsn()").flatMap(LogPosition.init)
  }

  /// The server's version with all that it was built with.
  package func fullVersion() throws -> String { try value("SELECT pg_catalog.version()") ?? "" }

  /// The transactions that change relations of a database.
  ///
  /// They are found by their locks, which subtransactions and prepared transactions hold too. `pg_current_snapshot()` does not list all
  /// of them.
  package func relationWriters(in database: UInt32) throws -> Set<RelationWriter> {
    let found = try rows(
      """
      SELECT l.relation, t.transactionid FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_locks t
        ON t.locktype = 'transactionid' AND t.granted AND t.virtualtransaction = l.virtualtransaction
      WHERE l.locktype = 'relation' AND l.granted AND l.mode NOT IN ('AccessShareLock', 'RowShareLock')
        AND l.database = $1::pg_catalog.oid
      """, ["\(database)"])
    return Set(found.compactMap { row in row[0].flatMap { UInt32($0) }.map { RelationWriter(relation: $0, transaction: row[1] ?? "") } })
  }

  package func checkpoint() throws { try execute("CHECKPOINT") }

  /// Limits how long a statement may wait for a lock, and how long it may take. The session that asks for changes must never wait for a
  /// session that waits for ours: the server can't see that deadlock.
  package func limitStatements(lockWait: Duration, total: Duration) throws {
    try execute("SET lock_timeout = \(Self.limit(lockWait)); SET statement_timeout = \(Self.limit(total))")
  }

  /// When the server started, with microseconds: two servers never agree.
  package func serverStart() throws -> String { try value("SELECT pg_catalog.pg_postmaster_start_time()::text") ?? "" }

  /// Writes a random number of short records to the log. Otherwise a server that continued from a copy of its files, and did nearly the
  /// same, could reach the same log positions.
  package func scatterLog() throws {
    if !showsTimeOfSummaries {
      try execute("SELECT pg_catalog.pg_logical_emit_message(false, 'firn', pg_catalog.repeat(' ', \(Int.random(in: 1...1 << 18))))")
    }
    try execute(String(repeating: "BEGIN; SELECT pg_catalog.pg_current_xact_id(); ROLLBACK; ", count: Int.random(in: 1...255)))
  }

  /// Whether the summaries reach that position of the log.
  package func isSummarized(upTo position: LogPosition) throws -> Bool {
    try value("SELECT summarized_lsn >= $1::pg_catalog.pg_lsn FROM pg_catalog.pg_get_wal_summarizer_state()", [position.description]) == "t"
  }

  private static func number(ofTimeline timeline: String) -> String { Int(timeline, radix: 16).map { "\($0)" } ?? "0" }

  /// The summaries of a timeline, by their starts, that have anything of that part of the log.
  package func summaries(timeline: String, from start: LogPosition, to end: LogPosition) throws -> [SummarizedRange] {
    try rows(
      """
      SELECT start_lsn, end_lsn FROM pg_catalog.pg_available_wal_summaries()
      WHERE tli = $1::int8 AND end_lsn >= $2::pg_catalog.pg_lsn AND start_lsn <= $3::pg_catalog.pg_lsn ORDER BY start_lsn, end_lsn
      """, [Self.number(ofTimeline: timeline), start.description, end.description]
    ).compactMap(Self.range)
  }

  private static func range(_ row: [String?]) -> SummarizedRange? {
    guard let start = row[0].flatMap(LogPosition.init), let end = row[1].flatMap(LogPosition.init) else { return nil }
    return SummarizedRange(start: start, end: end)
  }

  /// The SHA-256 of a summary's contents in a fixed order.
  package func digest(ofSummary range: SummarizedRange, timeline: String) throws -> String? {
    try value(
      """
      SELECT pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(
        coalesce(pg_catalog.string_agg(k::text, ',' ORDER BY k::text COLLATE "C"), ''), 'UTF8')), 'hex')
      FROM pg_catalog.pg_wal_summary_contents($1::int8, $2::pg_catalog.pg_lsn, $3::pg_catalog.pg_lsn) k
      """, [Self.number(ofTimeline: timeline), range.start.description, range.end.description])
  }

  /// When the file of a summary was written, in seconds since 1970. PostgreSQL 17 does not show it: there it is when the server started. A server
  /// whose files were put back was started since.
  package func modificationTime(ofSummary range: SummarizedRange, timeline: String) throws -> String? {
    guard showsTimeOfSummaries else { return "server started \(try serverStart())" }
    // As TIMELINE, START and END in hexadecimal digits (walsummary.c, OpenWalSummaryFile).
    func digits(_ position: LogPosition) -> String {
      position.description.split(separator: "/").map { String(repeating: "0", count: max(0, 8 - $0.count)) + $0 }.joined()
    }
    let name = timeline + digits(range.start) + digits(range.end) + ".summary"
    return try value("SELECT pg_catalog.date_part('epoch', modification)::text FROM pg_catalog.pg_ls_summariesdir() WHERE name = $1", [name])
  }

  /// The files of a database that were changed, truncated or created, by the summaries of that part of the log, and these summaries by
  /// their starts. Both come from one listing, because the server removes old summaries at any time.
  /// - Parameter ranges: the first blocks of the ranges of files, by the files' numbers; the first range begins with block 0.
  package func touchedFiles(
    of database: UInt32, timeline: String, from start: LogPosition, to end: LogPosition, ranges: [UInt32: [Int64]] = [:]
  ) throws -> (files: TouchedFiles, summaries: [SummarizedRange]) {
    let files = ranges.keys.sorted()
    let found = try rows(
      """
      WITH listed AS MATERIALIZED (SELECT tli, start_lsn, end_lsn FROM pg_catalog.pg_available_wal_summaries()
        WHERE tli = $1::int8 AND end_lsn >= $2::pg_catalog.pg_lsn AND start_lsn <= $3::pg_catalog.pg_lsn),
      divided AS MATERIALIZED (SELECT f, b::int8[] FROM ROWS FROM (unnest($5::pg_catalog.oid[]), unnest($6::text[])) AS u(f, b))
      SELECT s.start_lsn, s.end_lsn, k.relfilenode, k.range, k.is_limit_block FROM listed s LEFT JOIN LATERAL (
        SELECT DISTINCT c.relfilenode, pg_catalog.width_bucket(c.relblocknumber, d.b) - 1 AS range, c.is_limit_block
        FROM pg_catalog.pg_wal_summary_contents(s.tli, s.start_lsn, s.end_lsn) c LEFT JOIN divided d ON d.f = c.relfilenode
        WHERE c.reldatabase = $4::pg_catalog.oid AND (c.relforknumber = 0 OR c.relfilenode = 0)) k ON true
      ORDER BY 1, 2
      """,
      [
        Self.number(ofTimeline: timeline), start.description, end.description, "\(database)",
        "{\(files.map { "\($0)" }.joined(separator: ","))}",
        "{\(files.map { "\"{\(ranges[$0, default: []].map { "\($0)" }.joined(separator: ","))}\"" }.joined(separator: ","))}",
      ])
    var touched = TouchedFiles()
    touched.ranges = ranges.mapValues { _ in [] }
    var summaries: [SummarizedRange] = []
    for row in found {
      if let range = Self.range(row), summaries.last != range { summaries.append(range) }
      guard let number = row[2].flatMap({ UInt32($0) }) else { continue }
      if number == 0 { touched.isAll = true } else { touched.filenodes.insert(number) }
      guard let count = ranges[number]?.count, count > 0 else { continue }
      let range = max(0, row[3].flatMap { Int($0) } ?? 0)
      // All blocks from a limit on may be others: the file was cut there, or made.
      touched.ranges[number, default: []].formUnion(row[4] == "t" ? range..<count : range..<(range + 1))
    }
    return (touched, summaries)
  }

  /// The tables of users with everything that the text of their rows depends on.
  ///
  /// The fingerprint holds the columns, and the closure of their types over elements, domains, ranges and composites with the labels of
  /// enums and their output functions, and the versions of all extensions. The transactions that changed these last are part of it: a label
  /// may be renamed while the rows are read, and renamed back before the next snapshot. Types whose text depends on other rows of the catalogs, or on
  /// code that is not known, are a reason to read.
  package func tableStorage() throws -> [TableStorage] {
    let found = try rows(
      """
      WITH RECURSIVE tables AS (
        SELECT c.oid, n.nspname, c.relname, c.relpersistence, c.relam, c.reltoastrelid, c.reltablespace
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        WHERE c.relkind = 'r' AND c.oid >= 16384 AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'),
      columns AS (
        SELECT a.* FROM tables t JOIN pg_catalog.pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0),
      reached(root, type) AS (
        SELECT DISTINCT atttypid, atttypid FROM columns WHERE NOT attisdropped
        UNION
        SELECT r.root, inner_type.oid FROM reached r JOIN pg_catalog.pg_type y ON y.oid = r.type CROSS JOIN LATERAL (
          SELECT y.typelem WHERE y.typelem <> 0
          UNION ALL SELECT y.typbasetype WHERE y.typbasetype <> 0
          UNION ALL SELECT a.atttypid FROM pg_catalog.pg_attribute a
            WHERE y.typtype = 'c' AND a.attrelid = y.typrelid AND a.attnum > 0 AND NOT a.attisdropped
          UNION ALL SELECT g.rngsubtype FROM pg_catalog.pg_range g WHERE g.rngtypid = y.oid OR g.rngmultitypid = y.oid) inner_type(oid)),
      types AS MATERIALIZED (
        SELECT y.oid, ROW(y.oid, y.typtype, y.typlen, y.typbyval, y.typalign, y.typdelim, y.typelem, y.typbasetype, y.typtypmod, y.typoutput,
            p.xmin, p.prosrc, p.probin, p.prolang,
            (SELECT pg_catalog.array_agg(ROW(e.oid, e.enumlabel, e.xmin)::text ORDER BY e.oid) FROM pg_catalog.pg_enum e WHERE e.enumtypid = y.oid),
            (SELECT pg_catalog.array_agg(ROW(a.attnum, a.atttypid, a.atttypmod, a.attisdropped, a.atthasmissing, a.attmissingval, a.xmin)::text
              ORDER BY a.attnum) FROM pg_catalog.pg_attribute a WHERE y.typtype = 'c' AND a.attrelid = y.typrelid AND a.attnum > 0))::text AS facts,
          CASE WHEN y.oid < 16384 AND (y.typname ~ '^reg' OR y.typname = 'aclitem') THEN 'type ' || y.typname || ' depends on the catalogs'
            WHEN y.typtype = 'p' THEN 'type ' || y.typname || ' is a pseudo-type'
            WHEN y.typtype = 'b' AND y.oid >= 16384 AND NOT (y.typelem <> 0 AND y.typlen = -1 AND p.proname = 'array_out' AND p.oid < 16384)
              AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
                WHERE d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass AND d.objid = y.oid AND d.deptype = 'e'
                  AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND (e.extname, y.typname) IN (('citext', 'citext'),
                  ('cube', 'cube'), ('hstore', 'hstore'), ('ltree', 'ltree'), ('vector', 'vector'), ('vector', 'halfvec'),
                  ('vector', 'sparsevec'), ('postgis', 'geometry'), ('postgis', 'geography')))
            THEN 'type ' || y.typname || ' is of code that is not known' END AS reason
        FROM (SELECT DISTINCT type FROM reached) r JOIN pg_catalog.pg_type y ON y.oid = r.type JOIN pg_catalog.pg_proc p ON p.oid = y.typoutput),
      roots AS (
        SELECT r.root, pg_catalog.array_agg(y.facts ORDER BY y.oid)::text AS facts, min(y.reason) AS reason
        FROM reached r JOIN types y ON y.oid = r.type GROUP BY r.root),
      described AS (
        SELECT a.attrelid, pg_catalog.array_agg(ROW(a.attnum, a.attname, a.atttypid, a.atttypmod, a.attisdropped, a.attgenerated, a.atthasmissing,
            a.attmissingval, a.attlen, a.attbyval, a.attalign, r.facts)::text ORDER BY a.attnum)::text AS facts, min(r.reason) AS reason
        FROM columns a LEFT JOIN roots r ON r.root = a.atttypid AND NOT a.attisdropped GROUP BY a.attrelid),
      extensions AS (SELECT pg_catalog.array_agg(ROW(extname, extversion, xmin)::text ORDER BY extname)::text AS facts FROM pg_catalog.pg_extension)
      SELECT t.oid, t.nspname, t.relname, coalesce(pg_catalog.pg_relation_filenode(t.oid), 0), t.reltablespace,
        coalesce(pg_catalog.pg_relation_size(t.oid, 'main'), -1), pg_catalog.pg_relation_filenode(nullif(t.reltoastrelid, 0)),
        pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(ROW(d.facts, x.facts)::text, pg_catalog.getdatabaseencoding())), 'hex'),
        CASE WHEN t.relpersistence <> 'p' THEN 'it is unlogged'
          WHEN t.relam <> (SELECT oid FROM pg_catalog.pg_am WHERE amname = 'heap') THEN 'its access method is not heap'
          WHEN EXISTS (SELECT FROM pg_catalog.pg_depend m WHERE m.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND m.objid = t.oid
            AND m.deptype = 'e') THEN 'it belongs to an extension'
          ELSE d.reason END,
        coalesce(pg_catalog.pg_relation_size(nullif(t.reltoastrelid, 0), 'main'), 0)
      FROM tables t CROSS JOIN extensions x LEFT JOIN described d ON d.attrelid = t.oid
      """)
    return found.map { row in
      func number(_ place: Int) -> UInt32 { row[place].flatMap { UInt32($0) } ?? 0 }
      return TableStorage(
        oid: number(0), schema: row[1] ?? "", name: row[2] ?? "", filenode: number(3), tablespace: number(4),
        bytes: row[5].flatMap { Int64($0) } ?? -1, toast: row[6].flatMap { UInt32($0) }, fingerprint: row[7] ?? "", reasonToRead: row[8],
        toastBytes: row[9].flatMap { Int64($0) } ?? 0)
    }
  }
}
