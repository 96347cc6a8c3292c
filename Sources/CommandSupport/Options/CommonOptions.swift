package import ArgumentParser
internal import Encryption
internal import FirnCore
internal import Foundation
internal import Platform
internal import Postgres
internal import Repository
internal import SystemPackage

/// Options that every command has.
package struct CommonOptions: ParsableArguments {
  @Option(
    name: .long,
    help: ArgumentHelp("Configuration file. Default: ./firn.yaml, ~/.config/firn/firn.yaml or /etc/firn/firn.yaml.", valueName: "file"))
  package var config: String?

  @Option(
    name: .long,
    help: ArgumentHelp(
      "Location of the repository. Default: env FIRN_STORE, then firn.yaml, then ~/.local/share/firn (root: /var/lib/firn).", valueName: "location"))
  package var store: String?

  @Option(
    name: .long,
    help: ArgumentHelp(
      "File of the age identity for an encrypted repository. Default: env FIRN_IDENTITY, then identity in firn.yaml.", valueName: "file"))
  package var identity: String?

  @Flag(name: .long, help: "Print one JSON object.")
  package var json = false

  @Flag(name: .long, help: "Print results and errors only.")
  package var quiet = false

  @Flag(name: .long, help: "Print each step.")
  package var verbose = false

  package init() {}
}
