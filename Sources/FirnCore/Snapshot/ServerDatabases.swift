internal import Platform
package import Postgres

/// The databases of a server that are backed up together: all that accept connections, except templates and databases that Firn keeps or
/// builds itself.
package struct ServerDatabases: Sendable {
  package struct Entry: Sendable {
    package let name: String
    /// Bytes on the server's disk.
    package let size: Int64
  }

  /// The largest first.
  package let entries: [Entry]
  /// Wanted patterns that match no database.
  package let unmatched: [String]
  /// Databases that are left out without having been excluded, with the reason.
  package let leftOut: [(name: String, reason: String)]
  package var names: [String] { entries.map(\.name) }
  /// All that the server has.
  package let all: Set<String>
  /// Patterns for names to exclude.
  package let excluded: [String]

  /// - Parameters:
  ///   - wanted: patterns for names, with `*` and `?` as in a shell.
  ///   - excluded: patterns for names to exclude.
  ///   - required: those of `excluded` that must match a database.
  /// - Throws: `FirnError.refused` if one of `required` matches no database, or if none is left.
  package init(on server: Connection, matching wanted: [String] = ["*"], excluding excluded: [String], requiring required: [String]? = nil) throws {
    var leftOut: [(name: String, reason: String)] = []
    var (unused, unmatched) = (Set(required ?? excluded), Set(wanted))
    var chosen: [Entry] = []
    let found = try server.databaseEntries()
    (all, self.excluded) = (Set(found.map(\.name)), excluded)
    for entry in found {
      let (including, excluding) = (wanted.filter { entry.name.matches(glob: $0) }, excluded.filter { entry.name.matches(glob: $0) })
      unused.subtract(excluding)
      unmatched.subtract(including)
      if including.isEmpty || !excluding.isEmpty { continue }
      if !entry.isUsable {
        leftOut.append((entry.name, "it accepts no connections"))
      } else if UnfinishedDatabase.isTemporary(entry.name) {
        leftOut.append((entry.name, "it is being restored"))
      } else if KeptDatabase.isKept(entry) {
        leftOut.append((entry.name, "it is the previous state of a restored database"))
      } else {
        chosen.append(Entry(name: entry.name, size: entry.size))
      }
    }
    guard unused.isEmpty else {
      throw FirnError.refused(reasons: unused.sorted().map { "no database of \(server.target) matches \($0)" })
    }
    guard !chosen.isEmpty else {
      throw FirnError.refused(reasons: [
        unmatched.count == wanted.count
          ? "no database of \(server.target) matches \(wanted.joined(separator: ", "))" : "every database of \(server.target) is excluded"
      ])
    }
    self.unmatched = wanted.filter(unmatched.contains)
    entries = chosen.sorted { ($0.size, $1.name) > ($1.size, $0.name) }
    self.leftOut = leftOut
  }
}
