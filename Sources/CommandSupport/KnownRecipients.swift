internal import Foundation
internal import Platform
internal import Repository
package import SystemPackage

/// To whom the stores were encrypted that this machine has written to: a store can be changed by others, this can't.
package struct KnownRecipients: Sendable {
  private let root: FilePath

  package init(root: FilePath) { self.root = root.appending("recipients") }

  private func path(_ location: String) -> FilePath { root.appending(location.keyComponent.suffix(200) + ".json") }

  /// Nil for a store that this machine has never written to.
  package func recipients(of location: String) -> [String]? {
    guard let bytes = try? Folder.contents(of: path(location), limit: 1 << 20),
      let known = try? JSON.decoder.decode([String: [String]].self, from: Data(bytes))
    else { return nil }
    return known[location]
  }

  /// Where that can't be written it is not remembered.
  package func remember(_ recipients: [String], of location: String) {
    guard self.recipients(of: location) != recipients, let bytes = try? JSON.bytes([location: recipients]) else { return }
    try? Folder.make(root)
    try? Folder.write(bytes, to: path(location))
  }
}
