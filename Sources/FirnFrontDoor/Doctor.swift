import ArgumentParser
import CommandSupport
import FirnCore
import Foundation
import Platform
import Postgres
import Repository
import SystemPackage

/// Looks at everything that backups depend on, and suggests fixes.
struct Doctor: FirnCommand {
  static let configuration = CommandSupport.configuration(
    "doctor", abstract: "Check configuration, server, stores, tools and timers, and suggest fixes.",
    discussion: "Exit code 6 if a finding says stop: a snapshot or a restore would fail. Exit code 3 if one is a warning.")
  @OptionGroup var server: ConnectionOptions
  @OptionGroup var tools: ToolOptions
  @OptionGroup var spool: SpoolOption
  @OptionGroup var common: CommonOptions

  func execute(_ context: CommandContext) throws -> ExitStatus {
    let findings = try context.withProgress { progress in try examine(context, progress) }
    let (mustStop, isOdd) = (findings.contains { $0.verdict == .stop }, findings.contains { $0.verdict == .warn })
    if common.json {
      try context.output(json: Report(ok: !mustStop, findings: findings))
    } else {
      context.output(findings.table)
      context.tell(mustStop ? "what says stop keeps backups from working" : isOdd ? "backups work; what says warn is worth a look" : "all is well")
    }
    return mustStop ? .refused : isOdd ? .doneWithWarnings : .done
  }

  private struct Report: Encodable {
    let ok: Bool
    let findings: [Finding]
  }

  private func examine(_ context: CommandContext, _ progress: WorkProgress) throws -> [Finding] {
    let file = context.configuration
    var findings = [configurationFile(context)]
    progress.begin("looking at the server")
    for server in try context.serversToExamine(server) { findings += try examine(server) }
    progress.begin("looking at the stores")
    let own = context.storeLocation
    findings += try store("store", own, context).run(isMade: true)
    let original = try? context.repository().format
    for (number, copy) in file.copies.enumerated() { findings += try store("copy-\(number + 1)", copy, context).run(isMade: false, copyOf: original) }
    if file.copies.isEmpty, !own.contains("://") {
      findings.append(
        Finding(
          "copies", .warn, "every snapshot lies on this machine alone", hint: "name another place in copies: what takes the machine takes them all"))
    }
    progress.begin("looking at this machine")
    let isEncrypted = !(original?.recipients ?? file.recipients).isEmpty
    findings += try HostExamination(
      spool: context.spoolRoot(spool), spoolCap: file.spoolCap ?? SnapshotRequest.usualSpoolCap, isEncrypted: isEncrypted,
      metrics: file.notifications.metrics.map { FilePath($0) }, mailer: file.notifications.mail.map { FilePath($0.program) }
    ).run()
    findings.append(told(file.notifications))
    if let policy = file.policy { findings.append(retention(policy)) }
    findings += state(context)
    return findings
  }

  private func examine(_ context: CommandContext) throws -> [Finding] {
    do {
      return try ServerExamination(
        settings: context.connectionSettings(server), restoreSettings: context.restoring.connectionSettings(server),
        anyDatabase: context.namesNoDatabase(server), backedUp: { databases(of: $0, context) },
        incremental: { context.configuration.incremental(for: $0) }, gain: { gain(of: $0, context) },
        toolFolders: context.toolFolders(tools)
      ) { FailureReport($0).message }.run()
    } catch {
      try Interruption.check()
      let report = FailureReport(error)
      return [Finding("server", .stop, report.message, hint: report.hint)]
    }
  }

  private func configurationFile(_ context: CommandContext) -> Finding {
    guard let file = context.configuration.file else {
      if let barred = context.configuration.passedOver.first {
        return Finding(
          "configuration", .warn, "\(barred) can't be read by this user: flags and environment alone",
          hint: "run it as the user whose backups these are, as firn")
      }
      return Finding("configuration", .pass, "there is no firn.yaml: flags and environment alone")
    }
    let text = "\(file)"
    let mode = (try? Folder.status(of: file, followingLinks: true)?.mode) ?? 0
    guard mode & 0o004 != 0 else { return Finding("configuration", .pass, text) }
    // A password stands between a colon and an @, or is a parameter.
    if context.configuration.databaseURL?.contains(/:\/\/[^\/@]*:[^\/@]+@|[?&\s]password=/) ?? false {
      return Finding(
        "configuration", .warn, "\(text) holds a password, and everybody may read it", hint: "chmod 640, or put the password into ~/.pgpass")
    }
    if context.configuration.notifications.addresses.contains(where: \.isWrittenOut) {
      return Finding(
        "configuration", .warn, "\(text) holds the address of a ping or webhook, and everybody may read it",
        hint: "chmod 640, or put the address into a file of its own, and name that")
    }
    return Finding("configuration", .pass, text)
  }

  private func databases(of server: Connection, _ context: CommandContext) -> Set<String> {
    guard let catalog = try? context.repository().catalog, let places = try? catalog.snapshots(), let source = source(server, catalog, context)
    else { return [] }
    // Usually the newest snapshot decides.
    let own = Dictionary(grouping: places.filter { $0.source == source }, by: \.database)
    return Set(own.filter { _, places in places.reversed().contains { !catalog.isSafetySnapshot($0) } }.keys)
  }

  /// The folder of a server's source.
  private func source(_ server: Connection, _ catalog: Catalog, _ context: CommandContext) -> String? {
    try? ServerSource(of: server, named: context.configuration.source, in: catalog).folder
  }

  private func gain(of connection: Connection, _ context: CommandContext) -> IncrementalGain? {
    // Without identities: one with a passphrase would ask for it.
    guard let repository = try? Repository(opening: context.store()), !repository.format.isEncrypted,
      let source = source(connection, repository.catalog, context),
      let places = try? repository.catalog.snapshots(source: source, database: connection.database)
    else { return nil }
    return IncrementalGain(of: places, in: repository)
  }

  private func store(_ role: String, _ location: String, _ context: CommandContext) -> StoreExamination {
    StoreExamination(
      role, open: { try context.store(at: location) }, permit: { try context.repositoryToJudge(in: $0) },
      isKnown: { context.knownRecipients.recipients(of: $0) != nil }, words: { FailureReport($0).message })
  }

  private func told(_ settings: NotificationSettings) -> Finding {
    let ways = [
      ("ping", settings.ping != nil), ("webhook", settings.webhook != nil), ("mail", settings.mail != nil), ("metrics", settings.metrics != nil),
      ("hooks", !settings.onFailure.isEmpty),
    ].filter(\.1).map(\.0)
    for address in settings.addresses {
      do { _ = try address.url() } catch {
        return Finding("told", .warn, FailureReport(error).message, hint: "no failure is reported there: write the address into that file")
      }
    }
    return ways.isEmpty
      ? Finding(
        "told", .warn, "no one is notified when a run fails",
        hint: "ping, webhook, mail, metrics or hooks in firn.yaml; or have monitoring run firn status")
      : Finding("told", .pass, "runs are reported by \(ways.joined(separator: ", "))")
  }

  private func retention(_ policy: ConfiguredPolicy) -> Finding {
    do {
      _ = try policy.file()
      return Finding("policy", .pass, "old snapshots go by the policy \(policy.name)")
    } catch {
      let report = FailureReport(error)
      return Finding("policy", .warn, "nothing old will be removed: \(report.message)", hint: report.hint)
    }
  }

  /// What `firn status` says.
  private func state(_ context: CommandContext) -> [Finding] {
    let status: StoreStatus
    do { status = try context.status() } catch {
      return [Finding("snapshots", .warn, "unknown: \(FailureReport(error).message)", hint: FailureReport(error).hint)]
    }
    if status.databases.isEmpty { return [Finding("snapshots", .warn, "there is none yet", hint: "make them: firn snapshot --all")] }
    return status.problems.map { Finding("snapshots", .warn, $0, hint: "firn status") }
      + status.databases.map { database in
        let name = "\(database.database)"
        let newest = database.newest.map { "newest snapshot \(Quantity.age(of: $0.startedAt, now: Date()))" } ?? "no snapshot"
        let proof = database.proof.map { ", newest proof \(Quantity.age(of: $0.checkedAt, now: Date()))" } ?? ""
        return database.problems.isEmpty
          ? Finding("snapshots", .pass, "\(name): \(newest)\(proof)")
          : Finding("snapshots", .warn, "\(name): \(database.problems.joined(separator: "; "))", hint: "firn status")
      }
  }
}
