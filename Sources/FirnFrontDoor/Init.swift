import ArgumentParser
import CommandSupport
import FirnCore
import Encryption
import Foundation
import Platform
import Repository

/// Creates a repository.
struct Init: FirnCommand {
  static let configuration = CommandSupport.configuration("init", abstract: "Create a repository.")
  @Option(
    help: ArgumentHelp(
      "Average size of a chunk in bytes, a power of two. Tables with narrow rows use half of it. Smaller chunks find more repeated data but need more memory and index space. Default: 4KiB.",
      valueName: "size"))
  var chunkSize: String?
  @Option(
    name: .customLong("recipient"),
    help: ArgumentHelp(
      "Encrypt to this age recipient: age1…, or a line ssh-ed25519 …. May be repeated: give a second recipient whose identity is kept in a safe place.",
      valueName: "key"))
  var recipients: [String] = []
  @OptionGroup var common: CommonOptions

  func execute(_ context: CommandContext) throws -> ExitStatus {
    var random = SystemRandomNumberGenerator()
    var format = RepositoryFormat(repositoryID: UUID().uuidString.lowercased(), createdAt: Date(), random: &random)
    if let chunkSize {
      guard let bytes = Quantity.bytes(chunkSize), bytes >= 1024, bytes <= 1 << 18, bytes.nonzeroBitCount == 1 else {
        throw UsageError("--chunk-size takes a power of two from 1KiB to 256KiB, not \(chunkSize)")
      }
      format.chunking = .init(average: Int(bytes))
    }
    let named = recipients.isEmpty ? context.configuration.recipients : recipients
    for text in named {
      let recipient = try AgeRecipient.tried(text)
      if !format.recipients.contains(recipient.description) { format.recipients.append(recipient.description) }
    }
    let configured = context.configuration.recipients
    guard configured.isEmpty || Set(configured) == Set(format.recipients) else {
      throw UsageError("the configuration names other recipients", hint: "change recipients in firn.yaml, or leave --recipient out")
    }
    if let barred = context.configuration.passedOver.first, common.store == nil, (context.environment["FIRN_STORE"] ?? "").isEmpty {
      throw UsageError(
        "\(barred) can't be read by this user, and may say where the repository belongs",
        hint: "run this as the user of the backups: sudo -u firn firn init; or name a place with --store")
    }
    let store = try context.store()
    do {
      if try Repository(creatingIn: store, format: format).isAmongFiles { context.warnOfFiles(in: store.location) }
    } catch RepositoryError.alreadyExists(let location) {
      // One that can't be read is another command's to tell.
      let there = try? Repository(opening: store).format.recipients
      if let there, Set(there) != Set(format.recipients) { throw FirnError.differentlyMade(location: location, isEncrypted: !there.isEmpty) }
      throw RepositoryError.alreadyExists(location: location)
    }
    context.knownRecipients.remember(format.recipients, of: store.location)
    if common.json {
      try context.output(json: Report(store: store.location, repositoryID: format.repositoryID, recipients: format.recipients))
    } else {
      let count = format.recipients.count
      context.tell(
        "made a repository in \(store.location)"
          + (count == 0 ? "" : ", encrypted to \(count) recipient\(count == 1 ? "" : "s"): this machine can't read what it stores there"))
      if count > 0, configured.isEmpty {
        context.tell(
          "add this to firn.yaml of this machine, so that a changed store is noticed:\n  recipients: [\(format.recipients.joined(separator: ", "))]"
        )
      }
      if count == 0, !(store is LocalStore) {
        context.warn("anyone who can read \(store.location) can read the database in it; --recipient encrypts what is stored")
      }
      if count == 1 { context.warn("if that one identity is lost, so are the backups: a second recipient, its identity in a safe, is wise") }
    }
    return .done
  }

  private struct Report: Encodable {
    let store: String
    let repositoryID: String
    let recipients: [String]
  }
}
