internal import CLibPQ
internal import Foundation
internal import Glibc
internal import Platform

extension Connection {
  /// Makes this session one that reads and writes an archive's rows: with the settings that `pg_restore` takes from the archive, those on
  /// which the text of values depends, and `others`. From now on statements and messages are in the archive's encoding.
  ///
  /// As pg_backup_archiver.c, `_doSetFixedOutputState`, with pg_dump's formats of dates and numbers (pg_dump.c, `setup_connection`).
  package func useSettings(of archive: ArchiveDirectory, searchPath: String? = nil, others: [(name: String, value: String)] = []) throws {
    let fixed = [
      ("client_min_messages", "warning"), ("check_function_bodies", "off"), ("row_security", "off"), ("extra_float_digits", "3"),
      // Otherwise the rows of a large table may begin in its middle, at the place of another scan.
      ("synchronize_seqscans", "off"),
    ]
    let calls = (fixed + ValueText.settings + others).map { "pg_catalog.set_config(\(Self.literal($0.0)), \(Self.literal($0.1)), false)" }
    try execute("SELECT \(calls.joined(separator: ", "))")
    try execute(archive.sessionStatements.joined())
    if let searchPath { try execute("SET client_encoding = 'UTF8'; SELECT pg_catalog.set_config('search_path', \(Self.literal(searchPath)), false)") }
    // From here on statements are in the archive's encoding.
    try execute("SET client_encoding = \(Self.literal(archive.encodingName))")
    messageEncoding = ArchiveEncoding(named: archive.encodingName)
  }

  /// Within a transaction, runs a body with an archive's settings; after it statements are in UTF-8 again.
  package func inSession<Result>(of archive: ArchiveDirectory, searchPath: String? = nil, _ body: () throws -> Result) throws -> Result {
    try useSettings(of: archive, searchPath: searchPath)
    defer { messageEncoding = .utf8 }
    let result = try body()
    try execute("SET client_encoding = 'UTF8'; SET search_path = ''; SET row_security = on")
    return result
  }

  /// Text in this session's encoding.
  package func sessionText(_ text: String) -> [UInt8] { messageEncoding.bytes(text) }

  /// Loads rows by `COPY … FROM STDIN`.
  /// - Parameters:
  ///   - statements: SQL, in the session's encoding, whose last statement is the COPY.
  ///   - what: the table, for messages.
  ///   - produce: hands the rows over, as text.
  /// - Returns: how many rows the server stored.
  /// - Throws: `PostgresError.rowsRefused`, `.connectionLost`, and what `produce` or `check` throws. The transaction has failed then.
  package func copyIn(_ statements: [UInt8], what: String, _ produce: ((Span<UInt8>) throws -> Void) throws -> Void) throws -> Int64 {
    try begin(statements, expecting: PGRES_COPY_IN, what: what)
    unsafe PQsetnonblocking(handle, 1)
    defer { unsafe PQsetnonblocking(handle, 0) }
    do {
      try produce { bytes in
        try unsafe bytes.withUnsafeBufferPointer { buffer in
          try unsafe buffer.withMemoryRebound(to: CChar.self) { text in
            while case let sent = unsafe PQputCopyData(handle, text.baseAddress, Int32(text.count)), sent != 1 {
              guard sent == 0 else { throw lost() }
              try check()
              try waitForServer(Int16(POLLIN | POLLOUT))
            }
          }
        }
        try flush()
      }
      try endCopy(nil)
    } catch {
      // A server that takes nothing more is not waited for: the caller closes the connection.
      if unsafe PQputCopyEnd(handle, "cancelled by the client") == 1, unsafe PQflush(handle) == 0 { _ = try? unsafe forEachResult { _ in true } }
      throw error
    }
    var stored: Int64 = 0
    try unsafe finish(what: what) { result in stored = Int64(unsafe String(cString: PQcmdTuples(result))) ?? 0 }
    return stored
  }

  /// Reads rows by `COPY … TO STDOUT`.
  /// - Parameters:
  ///   - statement: SQL, in the session's encoding.
  ///   - body: takes the rows as text, many at once.
  /// - Throws: as `copyIn`, and what `body` throws. The connection is of no more use then.
  package func copyOut(_ statement: [UInt8], what: String, _ body: (Span<UInt8>) throws -> Void) throws {
    try begin(statement, expecting: PGRES_COPY_OUT, what: what)
    var block: [UInt8] = []
    let size = 256 << 10
    block.reserveCapacity(size + 8192)
    while true {
      var row: UnsafeMutablePointer<CChar>?
      let length = unsafe PQgetCopyData(handle, &row, 1)
      if length == 0 {
        do { try check() } catch {
          cancel()
          throw error
        }
        try waitForServer(Int16(POLLIN))
        continue
      }
      guard length > 0, let text = unsafe row else { break }
      unsafe block.append(contentsOf: UnsafeRawBufferPointer(start: text, count: Int(length)))
      unsafe PQfreemem(text)
      if block.count >= size {
        try body(block.span)
        block.removeAll(keepingCapacity: true)
      }
    }
    if !block.isEmpty { try body(block.span) }
    try unsafe finish(what: what) { _ in }
  }

  /// Sends statements, and waits until the last of them wants or gives rows.
  private func begin(_ statements: [UInt8], expecting status: ExecStatusType, what: String) throws {
    let sent = unsafe (statements + [0]).withUnsafeBufferPointer { buffer in
      unsafe buffer.withMemoryRebound(to: CChar.self) { unsafe PQsendQuery(handle, $0.baseAddress) }
    }
    guard sent == 1 else { throw lost() }
    var isReady = false
    var failure: PostgresError?
    let interruption = unsafe try forEachResult { result in
      isReady = unsafe PQresultStatus(result) == status
      if !isReady, unsafe PQresultStatus(result) != PGRES_COMMAND_OK, failure == nil { failure = unsafe refusal(in: result, what: what) }
      return !isReady
    }
    if let interruption { throw interruption }
    if let failure { throw failure }
    guard isReady else { throw unsafe PQstatus(handle) == CONNECTION_BAD ? lost() : PostgresError.unexpectedAnswer(what: what) }
  }

  /// Waits for the end of a COPY.
  private func finish(what: String, _ body: (OpaquePointer) -> Void) throws {
    var failure: PostgresError?
    let interruption = unsafe try forEachResult { result in
      if unsafe PQresultStatus(result) == PGRES_COMMAND_OK {
        unsafe body(result)
      } else if failure == nil {
        failure = unsafe refusal(in: result, what: what)
      }
      return true
    }
    if let interruption { throw interruption }
    if let failure { throw failure }
  }

  private func refusal(in result: OpaquePointer, what: String) -> PostgresError {
    if unsafe PQstatus(handle) == CONNECTION_BAD { return lost() }
    return .rowsRefused(
      what: what, message: unsafe errorField("M", of: result) ?? "",
      details: .init(
        state: unsafe errorField("C", of: result) ?? "", detail: unsafe errorField("D", of: result), context: unsafe errorField("W", of: result)))
  }

  private func endCopy(_ reason: String?) throws {
    while case let sent = unsafe PQputCopyEnd(handle, reason), sent != 1 {
      guard sent == 0 else { throw lost() }
      try waitForServer(Int16(POLLIN | POLLOUT))
    }
    try flush()
  }

  /// Waits until libpq's buffer has gone out: so it doesn't grow.
  private func flush() throws {
    while case let left = unsafe PQflush(handle), left != 0 {
      guard left > 0 else { throw lost() }
      try check()
      try waitForServer(Int16(POLLIN | POLLOUT))
    }
  }
}

// MARK: - Large objects

extension Connection {
  /// Statements under way at most before the server's answers are read.
  private static let statementsInFlight = 512
  private static let bytesInFlight = 4 << 20

  /// Writes pieces of large objects that exist, many statements under way at once, each batch in a transaction of its own.
  /// - Parameter produce: hands over pieces: the object's id, the offset of the piece in bytes, its bytes.
  /// - Throws: as `copyIn`. The connection is of no more use then.
  package func putLargeObjects(_ produce: ((UInt32, Int64, Span<UInt8>) throws -> Void) throws -> Void) throws {
    let queue = try Pipeline(self, statement: "SELECT pg_catalog.lo_put($1, $2, $3)", types: [26, 20, 17])
    try produce { id, offset, bytes in
      try queue.send(["\(id)", "\(offset)"], bytes, about: id)
      if queue.waiting >= Self.statementsInFlight || queue.bytes >= Self.bytesInFlight { try queue.synchronize() }
    }
    try queue.end()
  }

  /// Reads pieces of large objects, many statements under way at once.
  /// - Parameters:
  ///   - pieces: the object's id, the offset of the piece, its length in bytes.
  ///   - body: takes each in the same order. It is shorter where the object ends.
  package func getLargeObjects(_ pieces: [(id: UInt32, offset: Int64, length: Int32)], _ body: (Int, Span<UInt8>) throws -> Void) throws {
    try withoutActuallyEscaping(body) { body in
      let queue = try Pipeline(self, statement: "SELECT pg_catalog.lo_get($1, $2, $3)", types: [26, 20, 23], take: body)
      for piece in pieces {
        try queue.send(["\(piece.id)", "\(piece.offset)", "\(piece.length)"], nil, about: piece.id)
        if queue.waiting >= Self.statementsInFlight / 8 { try queue.synchronize() }
      }
      try queue.end()
    }
  }

  /// A prepared statement that is sent again and again without waiting for each answer (libpq's pipeline mode).
  private final class Pipeline {
    private let connection: Connection
    private let take: ((Int, Span<UInt8>) throws -> Void)?
    /// The subjects of the pending statements, the oldest first.
    private var subjects: [UInt32] = []
    private var answered = 0
    private var synchronizations = 0
    private var failure: (any Error)?
    private(set) var bytes = 0
    private(set) var waiting = 0

    private static let name = "firn_large_object"

    init(_ connection: Connection, statement: String, types: [Oid], take: ((Int, Span<UInt8>) throws -> Void)? = nil) throws {
      self.connection = connection
      self.take = take
      let made = unsafe types.withUnsafeBufferPointer { types in
        unsafe PQprepare(connection.handle, Self.name, statement, Int32(types.count), types.baseAddress)
      }
      defer { unsafe PQclear(made) }
      guard unsafe PQresultStatus(made) == PGRES_COMMAND_OK else {
        throw unsafe made.map { unsafe connection.failure(in: $0) } ?? connection.lost()
      }
      unsafe PQsetnonblocking(connection.handle, 1)
      guard unsafe PQenterPipelineMode(connection.handle) == 1 else { throw connection.lost() }
    }

    func send(_ texts: [String], _ binary: Span<UInt8>?, about subject: UInt32) throws {
      let handle = unsafe connection.handle
      var values: [UnsafePointer<CChar>?] = unsafe texts.map { unsafe UnsafePointer(strdup($0)) }
      defer { unsafe values.prefix(texts.count).forEach { unsafe free(UnsafeMutableRawPointer(mutating: $0)) } }
      var lengths = texts.map { _ in Int32(0) }
      var formats = texts.map { _ in Int32(0) }
      func send() -> Int32 {
        unsafe values.withUnsafeBufferPointer { values in
          unsafe PQsendQueryPrepared(
            handle, Self.name, Int32(values.count), values.baseAddress, lengths, formats, take == nil ? 0 : 1)
        }
      }
      let sent: Int32
      if let binary {
        bytes += binary.count
        sent = unsafe binary.withUnsafeBufferPointer { buffer in
          unsafe buffer.withMemoryRebound(to: CChar.self) { text in
            unsafe values.append(text.baseAddress)
            lengths.append(Int32(text.count))
            formats.append(1)
            return send()
          }
        }
      } else {
        sent = send()
      }
      guard sent == 1 else { throw connection.lost() }
      subjects.append(subject)
      waiting += 1
      if bytes >= 1 << 20 { try connection.flush() }
    }

    /// Ends a batch. The batch before it is answered then.
    func synchronize() throws {
      guard unsafe PQpipelineSync(connection.handle) == 1 else { throw connection.lost() }
      synchronizations += 1
      (bytes, waiting) = (0, 0)
      try connection.flush()
      try read(leaving: 1)
    }

    func end() throws {
      try synchronize()
      try read(leaving: 0)
      unsafe PQexitPipelineMode(connection.handle)
      unsafe PQsetnonblocking(connection.handle, 0)
      try connection.execute("DEALLOCATE \(Self.name)")
    }

    private func read(leaving count: Int) throws {
      var ended = 0
      while synchronizations > count {
        while unsafe PQisBusy(connection.handle) == 1 {
          try connection.check()
          try connection.waitForServer(Int16(POLLIN))
        }
        guard let result = unsafe PQgetResult(connection.handle) else {
          // Between two statements' results.
          ended += 1
          guard ended < 3 else { throw connection.lost() }
          continue
        }
        ended = 0
        defer { unsafe PQclear(result) }
        switch unsafe PQresultStatus(result) {
        case PGRES_PIPELINE_SYNC: synchronizations -= 1
        case PGRES_TUPLES_OK:
          if let take, failure == nil, unsafe PQntuples(result) == 1 {
            let length = Int(unsafe PQgetlength(result, 0, 0))
            let value = unsafe UnsafeRawBufferPointer(start: PQgetvalue(result, 0, 0), count: length)
            unsafe try take(answered, Array(value).span)
          }
          answered += 1
        default:
          if failure == nil, unsafe PQresultStatus(result) != PGRES_PIPELINE_ABORTED {
            let subject = answered < subjects.count ? "large object \(subjects[answered])" : "large objects"
            failure = unsafe connection.refusal(in: result, what: subject)
          }
          answered += 1
        }
      }
      if let failure { throw failure }
    }
  }
}
