internal import Platform
package import SystemPackage

/// Gives the Unix group of operators access to a store in a folder.
package struct SharedFolder: Sendable {
  /// Why the group can't be given access, and what helps.
  package let obstacle: (message: String, hint: String)?
  private let root: FilePath
  private let owner: UInt32
  private let group: UInt32
  private let groupName: String

  /// - Throws: `SystemError`.
  package init(_ root: FilePath, group name: String) throws {
    self.root = root
    groupName = name
    let status = try Folder.status(of: root)
    let id = Host.group(named: name)
    (owner, group) = (status?.owner ?? 0, id ?? 0)
    obstacle = Self.obstacle(root, status, group: id, name)
  }

  private static func obstacle(_ root: FilePath, _ status: FileStatus?, group: UInt32?, _ name: String) -> (message: String, hint: String)? {
    guard let status, status.kind == .folder else {
      return ("\(root) is no folder", "create the repository first: firn init; a link does not do: name the folder itself")
    }
    guard let group else { return ("there is no group \(name) on this machine", "addgroup \(name.shellWord)") }
    // Whoever may rename files in a store that root writes to could have root write elsewhere.
    if status.owner == 0, Host.isRoot, group != 0 {
      return ("\(root) belongs to root", "give the store to the user who takes the backups, such as firn")
    }
    if !Host.groups(ofUser: status.owner).contains(group) {
      let owner = Host.name(ofUser: status.owner)
      return ("\(owner), who owns \(root), is not in the group \(name)", "adduser \(owner.shellWord) \(name.shellWord)")
    }
    return closedFolder(above: root, to: group).map {
      ("the group \(name) cannot pass the folder \($0)", "chgrp \(name.shellWord) \($0) && chmod g+x \($0)")
    }
  }

  /// The uppermost folder above the store that the group can't pass.
  private static func closedFolder(above root: FilePath, to group: UInt32) -> FilePath? {
    var closed: FilePath?
    var folder = root.removingLastComponent()
    while !folder.components.isEmpty {
      if let status = try? Folder.status(of: folder, followingLinks: true), status.mode & 0o001 == 0,
        status.group != group || status.mode & 0o010 == 0
      {
        closed = folder
      }
      folder.removeLastComponent()
    }
    return closed
  }

  /// Shell commands that give the same access as `apply()`.
  package var commands: [String] {
    let path = root.string.shellWord
    return [
      "chgrp -R \(groupName.shellWord) \(path)", "chmod -R g+rwX \(path)", "find \(path) -type d -exec chmod g+s {} +",
    ]
  }

  /// Gives the group access to everything in the store, and to the store itself last: until then only the owner can interfere. Root
  /// acts as the owner. Call it while the store's exclusive lock is held.
  /// - Throws: `SystemError`. Then it may be repeated.
  package func apply() throws {
    func shareAll() throws {
      try Folder.permit(root, 0o700)
      try share(root)
    }
    guard Host.isRoot else { return try shareAll() }
    try Host.acting(as: (owner, group), shareAll)
  }

  private func share(_ path: FilePath) throws(SystemError) {
    guard let status = try Folder.status(of: path) else { return }
    let wanted: UInt32
    switch status.kind {
    case .file: wanted = 0o060
    case .folder:
      for name in try Folder.names(in: path) { try share(path.appending(name)) }
      wanted = 0o070 | Folder.setGroupID
    case .other: return
    }
    // Another operator's files are right already.
    if status.group == group && status.mode & wanted == wanted { return }
    try Folder.permit(path, status.mode & 0o777 | wanted, group: group)
  }
}
