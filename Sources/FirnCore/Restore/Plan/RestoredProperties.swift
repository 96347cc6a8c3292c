internal import Postgres
internal import Repository

/// The properties of the database that a restore makes: as the snapshot's was, or, in the place of another, what belongs to its name.
struct RestoredProperties {
  private(set) var properties: DatabaseProperties
  /// Parts that are missing without having been excluded, in words.
  private(set) var leftOut: [String] = []
  /// Properties that stay as in the replaced database, although they differ in the snapshot.
  private(set) var kept: [String] = []

  /// - Parameter live: the properties of the database that is replaced.
  init(of manifest: Manifest, replacing live: DatabaseProperties?, scope: RestoreScope, role: RestoringRole, on server: Connection) throws {
    properties = manifest.properties
    properties.comment = KeptDatabase.original(properties.comment)
    properties.tablespace = scope.tablespace(properties.tablespace)
    if let locale = scope.locale {
      (properties.localeProvider, properties.collate, properties.ctype) = ("c", locale, locale)
      (properties.locale, properties.icuRules) = (nil, nil)
    }
    if let live {
      if live.owner != properties.owner { kept.append("the owner stays \(live.owner); in the snapshot it is \(properties.owner)") }
      let settings = properties.settings.filter { !live.settings.contains($0) }.map { setting in
        "\(setting.name)=\(setting.value)\(setting.role.map { " of role \($0)" } ?? "")"
      }
      if !settings.isEmpty { kept.append("the database's settings stay as they are now; the snapshot has also: \(settings.joined(separator: ", "))") }
      if let grants = properties.grants, grants != (live.grants ?? []) {
        kept.append("privileges on the database stay as they are now; the snapshot has others")
      }
      if live.connectionLimit != properties.connectionLimit {
        kept.append("the connection limit stays \(live.connectionLimit); in the snapshot it is \(properties.connectionLimit)")
      }
      properties.owner = live.owner
      properties.settings = live.settings
      properties.grants = live.grants
      properties.connectionLimit = live.connectionLimit
      properties.comment = KeptDatabase.original(live.comment)
      // Left out of a live database they would be lost: the preflight refuses.
      return
    }
    switch scope.owner {
    case .recorded: break
    case .restoring: giveDatabase(to: role.name)
    case .role(let name): giveDatabase(to: name)
    }
    if !scope.restoresPrivileges { properties.grants = nil }
    if !role.isSuperuser || role.keepsToExisting { try reduce(to: role, on: server) }
  }

  /// Privileges of the former owner become the new one's, as with `ALTER DATABASE … OWNER TO` (aclchk.c, aclnewowner).
  private mutating func giveDatabase(to owner: String) {
    let former = properties.owner
    properties.owner = owner
    guard let grants = properties.grants else { return }
    var seen: Set<String> = []
    properties.grants = grants.compactMap { grant in
      var grant = grant
      if grant.grantee == former { grant.grantee = owner }
      return seen.insert("\(grant.privilege) \(grant.grantee ?? "")").inserted ? grant : nil
    }
  }

  private mutating func reduce(to role: RestoringRole, on server: Connection) throws {
    if !role.canGive(to: properties.owner) {
      leftOut.append("ownership of the database by \(properties.owner), which goes to \(role.name)")
      giveDatabase(to: role.name)
    }
    properties.grants?.removeAll { grant in
      guard let grantee = grant.grantee, !role.existing.contains(grantee) else { return false }
      leftOut.append("\(grant.privilege) on the database for \(grantee): that role does not exist")
      return true
    }
    let reserved = try server.settingsOfSuperusers(among: properties.settings.map(\.name))
    properties.settings.removeAll { setting in
      let isReserved = reserved.contains(setting.name.lowercased())
      let isOthers = setting.role.map { role.isSuperuser ? !role.existing.contains($0) : $0 != role.name } ?? false
      guard isReserved || isOthers else { return false }
      leftOut.append(
        "setting \(setting.name)\(setting.role.map { " of role \($0)" } ?? ""): \(role.isSuperuser ? "that role does not exist" : "only a superuser may make it")"
      )
      return true
    }
  }
}
