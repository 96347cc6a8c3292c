/// Which part of a snapshot is restored, and whose it becomes.
package struct RestoreScope: Sendable {
  package enum Owner: Sendable, Equatable {
    /// Each object's own.
    case recorded
    /// The role that restores.
    case restoring
    case role(String)
  }

  package enum Content: Sendable, Equatable { case everything, schemaOnly }

  package var owner: Owner = .recorded
  package var restoresPrivileges = true
  /// Tablespaces by the names they had.
  package var tablespaces: [String: String] = [:]
  package var content: Content = .everything
  /// Where not empty, only these tables' rows.
  package var tables: [TablePattern] = []
  /// Tables that are left out, with all that needs them.
  package var excludedTables: [TablePattern] = []
  /// Tables whose rows are left out.
  package var excludedTableData: [TablePattern] = []
  /// For the sessions that restore, as SQL's `SET search_path` takes it; nil for the snapshot's own.
  package var searchPath: String?
  /// The libc locale of the new database; nil for the original's.
  package var locale: String?
  /// Whether damaged tables are left out.
  package var onlyIntact = false

  package init() {}

  package func tablespace(_ name: String) -> String { tablespaces[name] ?? name }

  /// Whether tables are named that are left out.
  package var excludesTables: Bool { !excludedTables.isEmpty || !excludedTableData.isEmpty }

  /// Whether less than the whole is wanted.
  package var isPartial: Bool { content != .everything || !tables.isEmpty }
}
