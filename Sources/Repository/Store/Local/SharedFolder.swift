internal import Platform
package import SystemPackage

/// Gives the Unix group of operators access to a store in a folder.
package struct SharedFolder: Sendable {
  package let root: FilePath
  package let group: String
  private let id: UInt32

  /// - Returns: nil if there is no such group.
  package init?(_ root: FilePath, group: String) {
    guard let id = Host.group(named: group) else { return nil }
    (self.root, self.group, self.id) = (root, group, id)
  }

  /// Folders above the store that the group can't pass, the uppermost first.
  package var closedFolders: [FilePath] {
    var closed: [FilePath] = []
    var folder = root.removingLastComponent()
    while !folder.components.isEmpty {
      if let status = try? Folder.status(of: folder, followingLinks: true), status.mode & 0o001 == 0,
        status.group != id || status.mode & 0o010 == 0
      {
        closed.insert(folder, at: 0)
      }
      folder.removeLastComponent()
    }
    return closed
  }

  /// Whether the store already gives the group access to what is created in it.
  package var isShared: Bool {
    guard let status = try? Folder.status(of: root, followingLinks: true) else { return false }
    return status.group == id && status.mode & Folder.setGroupID != 0 && status.mode & 0o070 == 0o070
  }

  /// The same in shell commands.
  package var commands: [String] {
    let path = root.string.shellWord
    return [
      "chgrp -R \(group.shellWord) \(path)", "chmod -R g+rwX \(path)", "find \(path) -type d -exec chmod g+s {} +",
    ]
  }

  /// Gives the group access to the store and to everything in it. Root does it as the store's owner, who could replace a folder
  /// by a link to something else meanwhile.
  /// - Throws: `SystemError`.
  package func apply() throws {
    guard Host.isRoot, let owner = try Folder.status(of: root, followingLinks: true)?.owner, owner != 0 else { return try share(root) }
    try Host.acting(as: (owner, id)) { try share(root) }
  }

  private func share(_ path: FilePath) throws(SystemError) {
    guard let status = try Folder.status(of: path) else { return }
    guard status.kind == .folder else {
      if status.kind == .file { try Folder.permit(path, status.mode & 0o777 | 0o060, group: id) }
      return
    }
    // First of all: what is created meanwhile inherits it.
    try Folder.permit(path, status.mode & 0o777 | 0o070 | Folder.setGroupID, group: id)
    for name in try Folder.names(in: path) { try share(path.appending(name)) }
  }
}
