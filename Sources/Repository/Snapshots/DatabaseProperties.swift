internal import Foundation

/// Properties of a database that its archive does not contain.
package struct DatabaseProperties: Codable, Sendable, Equatable {
  package struct Grant: Codable, Sendable, Equatable {
    /// Nil for PUBLIC.
    package var grantee: String?
    package var privilege: String
    package var grantable: Bool

    package init(grantee: String?, privilege: String, grantable: Bool) {
      self.grantee = grantee
      self.privilege = privilege
      self.grantable = grantable
    }
  }

  /// Settings of `ALTER DATABASE … SET`, or of `ALTER ROLE … IN DATABASE … SET` where a role is named.
  package struct Setting: Codable, Sendable, Equatable {
    package var role: String?
    package var name: String
    package var value: String

    package init(role: String?, name: String, value: String) {
      self.role = role
      self.name = name
      self.value = value
    }
  }

  package var owner: String
  package var encoding: String
  /// `c` (libc), `i` (ICU) or `b` (builtin), as in `pg_database.datlocprovider`.
  package var localeProvider: String
  package var collate: String
  package var ctype: String
  /// The ICU or builtin locale.
  package var locale: String?
  package var icuRules: String?
  /// The version of the collation when the database was made.
  package var collationVersion: String?
  /// The version the server's libraries had.
  package var actualCollationVersion: String?
  package var tablespace: String
  /// -1 for none.
  package var connectionLimit: Int
  /// Nil where the database has the default privileges.
  package var grants: [Grant]?
  package var comment: String?
  package var settings: [Setting] = []

  /// Roles that any of these name.
  package var roles: [String] { [owner] + (grants ?? []).compactMap(\.grantee) + settings.compactMap(\.role) }

  package init(
    owner: String, encoding: String, localeProvider: String, collate: String, ctype: String, tablespace: String, connectionLimit: Int
  ) {
    self.owner = owner
    self.encoding = encoding
    self.localeProvider = localeProvider
    self.collate = collate
    self.ctype = ctype
    self.tablespace = tablespace
    self.connectionLimit = connectionLimit
  }
}
