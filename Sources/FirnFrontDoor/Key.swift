import ArgumentParser
import CommandSupport
import Encryption
import FirnCore
import Foundation
import Platform
import Repository
import SystemPackage

/// Keys of encrypted repositories.
struct Key: ParsableCommand {
  static let configuration = CommandSupport.configuration(
    "key", abstract: "Create keys for encrypted repositories, and manage recipients.",
    subcommands: [KeyNew.self, KeyAdd.self, KeyList.self, KeyTrust.self])
}

/// Makes a pair of keys.
struct KeyNew: FirnCommand {
  static var program: String { "firn key" }
  static let configuration = CommandSupport.configuration(
    "new", abstract: "Create an age identity in a new file, and print its recipient.",
    discussion: "Create it on another machine. The machine that is backed up needs only the recipient.")
  @Argument(help: "A file that does not exist.") var file: String
  @Flag(help: "Protect the file with a passphrase, as age does.") var passphrase = false
  @OptionGroup var common: CommonOptions

  func execute(_ context: CommandContext) throws -> ExitStatus {
    let (identity, secret) = AgeIdentity.make()
    let path = FilePath(file)
    guard !Folder.exists(path) else {
      throw UsageError("\(file) exists: nothing was written", hint: "name a new file: a key that is written over is lost")
    }
    let text = """
      # created: \(ISO8601DateFormatter().string(from: Date()))
      # public key: \(identity.recipient)
      \(secret)

      """
    var bytes = Array(text.utf8)
    if passphrase { bytes = AgeFile.encrypt(bytes, passphrase: try chosenPassphrase()) }
    let output = try File(path, .create)
    try output.write(bytes.span)
    try output.synchronize()
    if common.json {
      try context.output(json: ["recipient": identity.recipient.description, "identity": file])
    } else {
      context.output(identity.recipient.description)
      context.tell(
        """
        made an identity in \(file). Anyone who has this file can read the backups; without it no one can, not even the makers of Firn:
          - keep it in two places that don't burn together: a password manager, and on paper in a safe
          - keep it off the machine that is backed up, which needs no more than the recipient above:
              firn init --recipient \(identity.recipient)
          - look now and then whether it still opens a backup: firn-verify --identity \(file)
        """)
    }
    return .done
  }

  private func chosenPassphrase() throws -> String {
    guard Terminal.isAttended else {
      throw UsageError("--passphrase needs a terminal to ask for it", hint: "run this at a terminal")
    }
    let first = try Terminal.readSecret("A passphrase, twelve letters or more: ") ?? ""
    guard first.count >= 12 else { throw UsageError("that is too short: nothing was written", hint: "several words in a row are easy to remember") }
    guard try Terminal.readSecret("The same again: ") == first else { throw UsageError("these differ: nothing was written", hint: "run it again") }
    return first
  }
}

/// Adds a recipient.
struct KeyAdd: FirnCommand {
  static var program: String { "firn key" }
  static let configuration = CommandSupport.configuration(
    "add", abstract: "Encrypt new files to one more recipient.",
    discussion: "Existing files are not changed: only the identities of the previous recipients can decrypt them.")
  @Argument(help: "age1…, or a line ssh-ed25519 … of a public key.") var recipient: String
  @OptionGroup var common: CommonOptions

  func execute(_ context: CommandContext) throws -> ExitStatus {
    let repository = try context.repositoryToFill(in: context.store(), adding: recipient)
    let (recipients, isNew) = try RecipientsOperation(repository).add(recipient)
    context.knownRecipients.remember(recipients, of: repository.store.location)
    if common.json {
      try context.output(json: ["added": isNew])
    } else if isNew {
      context.tell(
        """
        added. Snapshots from now on open with its identity, too; those that are there do not. So the next snapshot stores everything once more.
        Other machines that store there have to be told that this is right: firn key trust.
        """)
      for copy in copies(of: repository.store, context) {
        context.tell("If \(copy) already has copies, it needs the same: firn key add --store '\(copy)' '\(recipient)'")
      }
    } else {
      context.tell("it is among the recipients already")
    }
    let configured = context.configuration.recipients
    guard configured.isEmpty || Set(configured) == Set(recipients) else {
      context.warn("nothing is stored until firn.yaml names it, too:\n  recipients: [\(recipients.joined(separator: ", "))]")
      return .doneWithWarnings
    }
    return .done
  }

  /// The locations a store is copied to; empty if it is itself a copy.
  private func copies(of store: any Store, _ context: CommandContext) -> [String] {
    let copies = context.configuration.copies.compactMap { location in
      (try? context.store(at: location, asksWhatIsThere: false)).map { (written: location, location: $0.location) }
    }
    return copies.contains { $0.location == store.location } ? [] : copies.map(\.written)
  }
}

/// Tells to whom a repository is encrypted.
struct KeyList: FirnCommand {
  static var program: String { "firn key" }
  static let configuration = CommandSupport.configuration("list", abstract: "List the recipients of a repository.")
  @OptionGroup var common: CommonOptions

  func execute(_ context: CommandContext) throws -> ExitStatus {
    let store = try context.store()
    let recipients = try Repository(opening: store).format.recipients
    if common.json {
      try context.output(json: ["recipients": recipients])
    } else if recipients.isEmpty {
      context.tell("\(store.location) is not encrypted")
    } else {
      for recipient in recipients { context.output(recipient) }
    }
    return .done
  }
}

/// Takes note of recipients that were changed elsewhere.
struct KeyTrust: FirnCommand {
  static var program: String { "firn key" }
  static let configuration = CommandSupport.configuration(
    "trust", abstract: "Accept the current recipients of a repository on this machine.",
    discussion:
      "Firn refuses to store anything if a repository's recipients changed since the last run on this machine, because someone else may have changed them."
  )
  @OptionGroup var confirmation: ConfirmationOption
  @OptionGroup var common: CommonOptions

  func execute(_ context: CommandContext) throws -> ExitStatus {
    let store = try context.store()
    let recipients = try Repository(opening: store).format.recipients
    context.explain(
      recipients.isEmpty ? ["\(store.location) is not encrypted"] : ["\(store.location) is encrypted to:"] + recipients.map { "  \($0)" })
    try Confirmation.require("trust", given: confirmation.confirm)
    context.knownRecipients.remember(recipients, of: store.location)
    if common.json { try context.output(json: ["recipients": recipients]) }
    return .done
  }
}
