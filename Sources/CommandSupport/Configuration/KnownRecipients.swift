internal import Foundation
internal import Platform
internal import Repository
package import SystemPackage

/// To whom the stores were encrypted that this machine has written to: a store can be changed by others, this can't.
package struct KnownRecipients: Sendable {
  private let root: FilePath
  private let former: FilePath?

  /// - Parameter formerly: an earlier place of the list, which is still read.
  package init(root: FilePath, formerly: FilePath? = nil) {
    self.root = root.appending("recipients")
    former = formerly?.appending("recipients")
  }

  private static func name(_ location: String) -> String { location.keyComponent.suffix(200) + ".json" }
  private func path(_ location: String) -> FilePath { root.appending(Self.name(location)) }

  /// Nil for a store that this machine has never written to.
  package func recipients(of location: String) -> [String]? {
    Self.recipients(of: location, in: path(location)) ?? former.flatMap { Self.recipients(of: location, in: $0.appending(Self.name(location))) }
  }

  /// A list that others could have written is not trusted.
  private static func recipients(of location: String, in path: FilePath) -> [String]? {
    guard let status = try? Folder.status(of: path), status.kind == .file, status.owner == Host.userID, status.mode & 0o022 == 0,
      let bytes = try? Folder.contents(of: path, limit: 1 << 20),
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
