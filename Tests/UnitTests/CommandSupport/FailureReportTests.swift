import CommandSupport
import Compression
import Encryption
import FirnCore
import Foundation
import Platform
import Postgres
import Repository
import Retention
import Testing

@Suite struct `A failure's report` {
  /// Every case that a user can meet, with its exit code.
  private static let operations: [(any Error, CommandSupport.ExitStatus)] = [
    (FirnError.tablesKeptChanging(attempts: 3, example: "t is gone"), .postgres), (FirnError.noRights(role: "r", tables: ["t"]), .refused),
    (FirnError.lockTableTooSmall(relations: 5000, capacity: 3000), .refused), (FirnError.unsoundArchive(reason: "no end"), .postgres),
    (FirnError.lostTrackOfSpool, .failed), (FirnError.databaseExists(name: "d"), .refused),
    (FirnError.invalidName(name: "d", reason: "is too long"), .refused), (FirnError.refused(reasons: ["a", "b"]), .refused),
    (FirnError.restoredCopyDiffers(differences: ["t differs"]), .verificationFailed), (FirnError.noDatabaseNamed, .usage),
    (FirnError.copyGone(location: "/c"), .notFound), (FirnError.beingRestored(database: "d", process: 1, place: "here", rest: "f"), .locked),
    (FirnError.noKeptDatabase(name: "d"), .notFound), (FirnError.notConfirmed(phrase: "d", given: nil), .notConfirmed),
    (FirnError.notConfirmed(phrase: "d", given: "e"), .notConfirmed),
    (FirnError.notConfirmedFurther(phrase: "d", given: "e", dropped: ["c"]), .notConfirmed),
    (FirnError.clockInDoubt(reason: "it jumped", phrase: "the clock is right"), .refused),
    (FirnError.prunedInPart(left: ["d"], reasons: [], phrase: "p", of: nil), .notConfirmed), (FirnError.planChanged, .refused),
    (FirnError.differentlyMade(location: "/s", isEncrypted: true), .refused),
    (FirnError.mustStay(database: "d", id: "i", reasons: ["the newest"], guardian: .newest), .refused),
    (FirnError.onHold(database: "d", id: "i", reason: "audit"), .refused), (FirnError.noFolder(path: "/f", reason: "it is full"), .failed),
    (FirnError.differentlyEncrypted(location: "/c"), .refused), (FirnError.notEncrypted(location: "/s"), .refused),
    (FirnError.recipientsChanged(location: "/s"), .refused), (FirnError.migrationRuns(database: "d", holder: "process 1"), .locked),
    (FirnError.backfillLost(table: "t", key: "7"), .failed), (FirnError.backfillFailedOver(table: "t", key: "7", lsn: "0/1"), .failed),
    (FirnError.sameStore(location: "/s"), .refused),
  ]
  private static let stores: [(any Error, CommandSupport.ExitStatus)] = [
    (RepositoryError.noRepository(location: "/s"), .notFound), (RepositoryError.alreadyExists(location: "/s"), .refused),
    (RepositoryError.newerFormat(location: "/s", version: 9), .store), (RepositoryError.identityNeeded(recipients: ["age1a"]), .configuration),
    (RepositoryError.wrongIdentity(given: ["age1b"], recipients: ["age1a"]), .configuration),
    (RepositoryError.malformed(key: "k", reason: "no JSON"), .store), (RepositoryError.damagedObject(name: "o", reason: "hash"), .verificationFailed),
    (RepositoryError.hiddenSnapshot(key: "k"), .store), (RepositoryError.listLost(folder: "f/"), .store),
    (RepositoryError.databaseLost(folder: "f/", mark: "m"), .store), (RepositoryError.noSuchDatabase(name: "d", known: []), .notFound),
    (RepositoryError.ambiguousDatabase(name: "d", sources: ["1", "2"]), .notFound),
    (RepositoryError.noSuchSnapshot(selector: "x", database: "d"), .notFound),
    (RepositoryError.ambiguousSnapshot(selector: "2", candidates: ["21", "22"]), .notFound), (RepositoryError.invalidSelector("before:x"), .usage),
    (RepositoryError.locked(holder: "process 1"), .locked), (RepositoryError.lockLost, .store), (StoreError.missing("k"), .store),
    (StoreError.truncated("k"), .store), (StoreError.tooLarge("k"), .store), (StoreError.notAFile("k"), .store),
    (StoreError.unreadable("k", reason: "I/O error"), .store), (StoreError.full(location: "/s"), .store),
    (StoreError.readOnly(location: "/s", reason: "/s is read-only"), .store), (StoreError.unreachable(location: "/s", reason: "no answer"), .store),
    (StoreError.refused(location: "/s", reason: "no rights", hint: "grant them"), .store),
    (StoreError.badLocation(location: "x:", reason: "no host"), .usage), (StoreError.locked(["k"], reason: "object lock"), .store),
  ]
  private static let servers: [(any Error, CommandSupport.ExitStatus)] = [
    (PostgresError.invalidURL(reason: "no host"), .usage), (PostgresError.cannotConnect(target: "t", reason: "refused"), .postgres),
    (PostgresError.wrongPassword(target: "t", reason: "no"), .postgres), (PostgresError.noSuchDatabase(name: "d"), .notFound),
    (PostgresError.connectionLost(reason: "closed"), .postgres), (PostgresError.statementFailed(message: "m", state: "42501"), .postgres),
    (PostgresError.rowsRefused(what: "t", message: "m", details: .init(state: "23514", detail: nil, context: nil)), .postgres),
    (PostgresError.unexpectedAnswer(what: "t"), .postgres), (PostgresError.behindPooler(reason: "r", portOnly: false), .refused),
    (PostgresError.noTool(name: "pg_dump", major: 15, found: []), .postgres), (PostgresError.unsupportedServer(version: "9.6"), .postgres),
    (PostgresError.lockTimeout(message: "m", holders: []), .postgres), (PostgresError.secretForTools(parameter: "sslpassword"), .refused),
    (PostgresError.toolFailed(tool: "pg_dump", exitCode: 1, messages: ["m"]), .postgres),
  ]
  private static let others: [(any Error, CommandSupport.ExitStatus)] = [
    (UsageError("no such option"), .usage), (SystemError("open", "/f", number: ENOENT), .failed), (CompressionError(reason: "no frame"), .store),
    (AgeError.malformed(reason: "no header"), .store), (AgeError.damaged, .store), (AgeError.noMatchingIdentity, .configuration),
    (AgeError.wrongPassphrase, .configuration), (AgeError.notARecipient("x"), .usage), (AgeError.notAnIdentity(line: 3), .configuration),
    (AgeError.passphraseNeeded, .configuration), (Interruption(signal: SIGINT), .interrupted), (Interruption(signal: SIGTERM), .terminated),
    (SafetySnapshotFailed(cause: FirnError.lostTrackOfSpool, keepsOldDatabase: true), .failed),
  ]

  @Test(arguments: [operations, stores, servers, others]) func `has a message, a next step and an exit code for every error`(
    _ samples: [(any Error, CommandSupport.ExitStatus)]
  ) {
    for (error, status) in samples {
      let report = FailureReport(error)
      #expect(report.status == status, "\(error)")
      #expect(!report.message.isEmpty && !report.message.hasSuffix("."), "\(report.message)")
      // The form of a value that is printed for programmers.
      for text in [report.message, report.hint ?? ""] {
        #expect(!text.contains("Optional(") && !text.contains("reason: \"") && !text.contains("unexpected error"), "\(text)")
      }
      #expect(report.hint != nil || error is UsageError || error is SystemError, "\(error)")
    }
  }

  /// Errors that are caught before they reach a user, by file and name.
  private let internalErrors: Set = [
    "ChangeSignal Unusable", "IncrementalReading Retreat", "RangeReader Refused", "DestructiveRestore NotNamed", "Drill Failure",
    "URLText Malformed", "SFTPClient SFTPRefusal", "SFTPListing UnknownLine",
    "TransferError TransferError",
  ]

  @Test func `exists for every type of error in the sources`() throws {
    let sources = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../../Sources").standardizedFileURL
    let files = try #require(FileManager.default.enumerator(at: sources, includingPropertiesForKeys: nil)).compactMap { $0 as? URL }
      .filter { $0.pathExtension == "swift" && !$0.path.contains("/TestSupport/") && !$0.path.contains("/sample-data/") }
    let texts = try files.map { ($0.deletingPathExtension().lastPathComponent, try String(contentsOf: $0, encoding: .utf8)) }
    let all = texts.map(\.1).joined(separator: "\n")
    var found = 0
    for (file, text) in texts {
      for match in text.matches(of: /(?m)^ *(package |private |fileprivate )?(struct|enum|final class) (\w+): ([\w, ]*\bError\b)/) {
        found += 1
        let name = String(match.output.3)
        // An error of a function or file can't reach a user: it is caught there.
        if match.output.1 == "private " || match.output.0.hasPrefix("    ") || internalErrors.contains("\(file) \(name)") { continue }
        #expect(all.contains(try Regex("extension (\\w+\\.)*\(name): ReportableError")), "\(file): \(name) has no report")
      }
    }
    #expect(found > 20)
  }

  @Test func `suggests to do without a safety snapshot only if the database is kept`() {
    func hint(keeps: Bool) -> String {
      FailureReport(SafetySnapshotFailed(cause: FirnError.noDatabaseNamed, keepsOldDatabase: keeps)).hint ?? ""
    }
    #expect(hint(keeps: true).contains("--no-safety-snapshot"))
    #expect(!hint(keeps: false).contains("--no-safety-snapshot") && hint(keeps: false).contains("nothing would be left"))
  }

  @Test func `leaves out rows if it goes to others`() {
    let lines = [
      "error: COPY failed for table \"c\": ERROR:  new row violates check constraint \"c_check\"",
      "DETAIL:  Failing row contains (ann@example.org, secret).", "CONTEXT:  COPY c, line 1: \"ann@example.org\tsecret\"",
    ]
    let report = FailureReport(PostgresError.toolFailed(tool: "pg_restore", exitCode: 1, messages: lines))
    #expect(report.message.contains("ann@example.org"))
    #expect(report.messageWithoutRows.contains("violates check constraint \"c_check\"") && report.messageWithoutRows.contains("COPY c, line 1"))
    #expect(!report.messageWithoutRows.contains("ann@example.org"))
  }
}
