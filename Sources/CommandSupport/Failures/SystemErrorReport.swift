internal import Compression
internal import Encryption
internal import FirnCore
internal import Platform

extension ConfigurationError: ReportableError {
  package var report: FailureReport { FailureReport(.configuration, message, hint: hint) }
}

extension SystemError: ReportableError {
  package var report: FailureReport { FailureReport(.failed, description, hint: isOutOfSpace ? "make room there, then run this again" : nil) }
}

extension CompressionError: ReportableError {
  package var report: FailureReport {
    FailureReport(.store, "compressed data cannot be read: \(reason)", hint: "firn-verify --read shows which snapshots are damaged")
  }
}

extension AgeError: ReportableError {
  package var report: FailureReport {
    switch self {
    case .notARecipient(let text) where text.uppercased().contains("SECRET") || text.contains("PRIVATE"):
      FailureReport(
        .usage, "this is an identity, which is secret, and not a recipient",
        hint: "give the line that begins with age1: firn key new and age-keygen -y print it")
    case .notARecipient(let text):
      FailureReport(
        .usage, "\(text) is not an age recipient",
        hint: "a recipient begins with age1, as firn key new prints it, or is a line ssh-ed25519 … of a public key")
    case .notAnIdentity(let line):
      FailureReport(
        .configuration, "line \(line) of the identity file is not an identity", hint: "write one identity per line, as firn key new prints it")
    case .malformed(let reason):
      FailureReport(.store, "an encrypted file cannot be read: \(reason)", hint: "firn-verify --read shows which snapshots are damaged")
    case .damaged: FailureReport(.store, "an encrypted file is damaged", hint: "firn-verify --read shows which snapshots are damaged")
    case .noMatchingIdentity:
      FailureReport(.configuration, "the identity does not open the file", hint: "name the file of another identity with --identity")
    case .wrongPassphrase: FailureReport(.configuration, "the passphrase is wrong", hint: "run it again")
    case .passphraseNeeded: FailureReport(.configuration, "the identity needs a passphrase", hint: "run this at a terminal")
    }
  }
}

extension Hook.Failure: ReportableError {
  package var report: FailureReport { FailureReport(.failed, "a command of firn.yaml \(reason)") }
}

extension HookRefused: ReportableError {
  package var report: FailureReport { FailureReport(.refused, "\(name) \(reason)", hint: "nothing was done; fix it, or remove it from firn.yaml") }
}

extension Notice.Failure: ReportableError {
  package var report: FailureReport { FailureReport(.failed, "a notification \(reason)") }
}

extension Interruption: ReportableError {
  package var report: FailureReport { CutOff(interruption: self, state: nil).report }
}

extension CutOff: ReportableError {
  package var report: FailureReport {
    FailureReport(
      interruption.signal == 2 ? .interrupted : .terminated,
      "interrupted by \(interruption.signal.signalName)\(state.map { ": \($0)" } ?? "")", hint: "you can run it again at any time")
  }
}
