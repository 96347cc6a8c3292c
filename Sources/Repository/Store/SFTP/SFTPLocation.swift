internal import Foundation
internal import Platform
package import SystemPackage

/// Where a store lies on a server that speaks SFTP, as users write it: `sftp://USER@HOST:PORT/PATH?key=FILE&known-hosts=FILE`.
/// A path that begins with `/~/` begins in the user's home there.
package struct SFTPLocation: Sendable, Equatable {
  package let user: String
  /// With its port, if one is given.
  package let host: String
  /// Begins with `/`, and does not end so.
  package let path: String
  /// The file of a private key; nil for an agent's keys.
  package let key: FilePath?
  package let knownHosts: FilePath

  /// The location as users write it, without parameters that do not locate anything.
  package var text: String { "sftp://\(user)@\(host)\(path)" }

  private static let parameters = ["key", "known-hosts"]
  private static let usualKeys = ["id_ed25519", "id_ecdsa", "id_rsa"]

  /// - Parameter environment: for the agent, and the user's name.
  /// - Throws: `StoreError.badLocation`.
  package init(_ text: String, environment: [String: String]) throws {
    let scheme = "sftp://"
    let parts = text.dropFirst(scheme.count).split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
    let place = parts[0].split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
    let server = place[0].split(separator: "@", omittingEmptySubsequences: false)
    // The text before an @ may hold a secret.
    let port = server.last.flatMap { host in host.hasSuffix("]") ? nil : host.lastIndex(of: ":").map { host[host.index(after: $0)...] } }
    let shown = parts.dropFirst().contains { $0.contains("@") } ? "\(scheme)…" : "\(scheme)\(parts[0].withoutLogin)"
    func bad(_ reason: String) -> StoreError { .badLocation(location: shown, reason: reason) }
    guard text.hasPrefix(scheme) else { throw bad("it does not begin with \(scheme)") }
    guard server.count <= 2, let host = server.last, !host.isEmpty, host.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7F }) else {
      throw bad("it names no host; write sftp://USER@HOST/PATH")
    }
    // Part of a password with a slash in it, or another's.
    guard port.map({ UInt16($0) != nil }) ?? true, !(place.count > 1 && server.count == 1 && place[1].contains("@")) else {
      throw bad("its port is no number; a name or password with / or @ has no place in it")
    }
    let named = server.count == 2 ? String(server[0]).removingPercentEncoding ?? "" : environment["USER"] ?? environment["LOGNAME"] ?? "root"
    guard !named.contains(":") else { throw bad("a password has no place in it: use a key, or an agent") }
    guard !named.isEmpty else { throw bad("it names no user; write sftp://USER@HOST/PATH") }
    let folders = (place.count > 1 ? place[1] : "").split(separator: "/").map { String($0).removingPercentEncoding ?? "" }
    guard !folders.isEmpty, folders != ["~"],
      folders.allSatisfy({ !$0.isEmpty && $0 != "." && $0 != ".." && !$0.contains("/") && !$0.utf8.contains { $0 < 0x20 } })
    else {
      throw bad("it names no folder; write sftp://USER@HOST/PATH")
    }
    let values: [String: String]
    do { values = try URLText.parameters(in: parts.count > 1 ? parts[1] : "", known: Self.parameters) } catch { throw bad(error.reason) }
    let own = Host.homeFolder.map { $0.appending(".ssh") } ?? "/root/.ssh"
    user = named
    self.host = String(host)
    path = folders.map { "/\($0)" }.joined()
    knownHosts = values["known-hosts"].map { Host.path($0) } ?? own.appending("known_hosts")
    if let file = values["key"] {
      key = Host.path(file)
    } else if environment["SSH_AUTH_SOCK"]?.isEmpty == false {
      key = nil
    } else {
      key = Self.usualKeys.map { own.appending($0) }.first { Folder.exists($0) }
    }
  }

  /// The reason why the key's file is not usable; nil if it may be.
  var keyProblem: String? {
    guard let key else { return nil }
    let bytes: [UInt8]
    do {
      guard let status = try Folder.status(of: key, followingLinks: true) else { return "there is no \(key)" }
      guard status.kind == .file else { return "\(key) is no file" }
      bytes = try Folder.contents(of: key, limit: 1 << 20)
    } catch { return "\(key) can't be read: \(error)" }
    if bytes.starts(with: Array("ssh-".utf8)) { return "\(key) is a public key" }
    return bytes.firstRange(of: Array("PRIVATE KEY".utf8)) == nil ? "\(key) holds no private key" : nil
  }

  /// The URL of a file, or of a folder where the key ends in `/` or is empty.
  func url(_ key: StoreKey) -> String { "sftp://\(host)\(URLText.encoded(path: path + "/" + key))" }

  /// A file's name in a command: there a path in the user's home is one that doesn't begin with `/`.
  func quoted(_ key: StoreKey) -> String { Self.quoted(path: commandPath + "/" + key) }

  private var commandPath: String { path.hasPrefix("/~/") ? String(path.dropFirst(3)) : path }

  private static func quoted(path: String) -> String {
    "\"" + path.replacing("\\", with: "\\\\").replacing("\"", with: "\\\"") + "\""
  }

  /// The folder of the store, in commands.
  var quotedFolder: String { Self.quoted(path: commandPath) }

  /// The folders above a file, in commands, the outermost first.
  func folders(above key: StoreKey) -> [String] {
    let isAbsolute = commandPath.hasPrefix("/")
    let parts = "\(commandPath)/\(key)".split(separator: "/").dropLast()
    return parts.indices.map { index in Self.quoted(path: (isAbsolute ? "/" : "") + parts[...index].joined(separator: "/")) }
  }
}
