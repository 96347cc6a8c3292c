package import ArgumentParser
internal import FirnCore
internal import Platform

/// `--confirm`, for commands that ask before they risk something.
package struct ConfirmationOption: ParsableArguments {
  @Option(help: ArgumentHelp("The confirmation phrase, for runs without a terminal.", valueName: "phrase")) package var confirm: String?

  package init() {}
}

/// The confirmation phrase that must be typed before data is put at risk.
package enum Confirmation {
  /// Returns if the phrase is correct. After a wrong one it does not ask again.
  /// - Parameter given: what `--confirm` says.
  /// - Throws: `FirnError.notConfirmed`.
  package static func require(_ phrase: String, given: String?) throws {
    if let given {
      guard given == phrase else { throw FirnError.notConfirmed(phrase: phrase, given: given) }
      return
    }
    guard Terminal.isAttended else { throw FirnError.notConfirmed(phrase: phrase, given: nil) }
    let typed = try Terminal.ask("Type \(phrase) to continue: ") { () throws(Interruption) in try Terminal.readLine() }
    guard typed == phrase else { throw FirnError.notConfirmed(phrase: phrase, given: typed ?? "") }
  }
}
