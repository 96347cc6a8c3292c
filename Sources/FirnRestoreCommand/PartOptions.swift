import ArgumentParser
import CommandSupport
import FirnCore

/// Options that choose a part of a snapshot, or other owners.
struct PartOptions: ParsableArguments {
  @Option(
    name: .customLong("table"),
    help: ArgumentHelp(
      "Restore only the rows of this table: SCHEMA.TABLE, with * and ?. They go into a new schema of the live database, or with --as into a new database. May be repeated.",
      valueName: "name"))
  var tables: [String] = []
  @Option(
    name: .customLong("exclude-table"),
    help: ArgumentHelp(
      "With --as or --into: leave out this table, and what needs it: SCHEMA.TABLE, with * and ?. May be repeated.", valueName: "name"))
  var excludedTables: [String] = []
  @Option(
    name: .customLong("exclude-table-data"),
    help: ArgumentHelp("With --as or --into: leave out the rows of this table. May be repeated.", valueName: "name"))
  var excludedTableData: [String] = []
  @Option(help: ArgumentHelp("Restore nothing; write an archive in pg_dump's directory format to this folder.", valueName: "folder")) var export:
    String?
  @Flag(help: "With --as, --into or --export: restore the schema without rows.") var schemaOnly = false
  @Flag(help: "Restore only rows, into existing, empty tables of the live database, or of the database named with --as, which must exist.")
  var dataOnly = false
  @Flag(help: "Leave out damaged tables, list them, and restore the rest (exit code 3).") var onlyIntact = false
  @Option(help: ArgumentHelp("Make this role the owner of everything.", valueName: "role")) var owner: String?
  @Flag(help: "Make the restoring role the owner of everything.") var noOwner = false
  @Flag(help: "Restore no privileges.") var noPrivileges = false
  @Option(
    help: ArgumentHelp(
      "The search_path for the restore, for functions in columns, checks and indexes that name tables or functions without a schema. Default: the snapshot's, or empty.",
      valueName: "list"))
  var searchPath: String?
  @Option(help: ArgumentHelp("The libc locale of the new database, such as C.UTF-8. Default: the original's.", valueName: "name")) var locale: String?
  @Option(
    name: .customLong("tablespace"), help: ArgumentHelp("Use tablespace NEW in place of OLD. May be repeated.", valueName: "old=new"))
  var tablespaces: [String] = []

  func validate() throws {
    if owner != nil && noOwner { throw ValidationError("--owner and --no-owner exclude each other") }
    if dataOnly && (schemaOnly || export != nil) { throw ValidationError("--data-only, --schema-only and --export exclude each other") }
    if !(excludedTables + excludedTableData).isEmpty && !(tables.isEmpty && !dataOnly) {
      throw ValidationError("--exclude-table and --exclude-table-data go with neither --table nor --data-only")
    }
    if schemaOnly && !tables.isEmpty { throw ValidationError("--schema-only and --table exclude each other") }
  }

  func scope() throws -> RestoreScope {
    var scope = RestoreScope()
    if noOwner { scope.owner = .restoring }
    if let owner { scope.owner = .role(owner) }
    scope.restoresPrivileges = !noPrivileges
    scope.content = schemaOnly ? .schemaOnly : .everything
    scope.onlyIntact = onlyIntact
    scope.searchPath = searchPath
    scope.locale = locale
    scope.tables = try tables.map { try TablePattern($0) }
    scope.excludedTables = try excludedTables.map { try TablePattern($0) }
    scope.excludedTableData = try excludedTableData.map { try TablePattern($0) }
    for mapping in tablespaces {
      let parts = mapping.split(separator: "=", maxSplits: 1).map(String.init)
      guard parts.count == 2 else { throw UsageError("--tablespace takes OLD=NEW, not \(mapping)") }
      scope.tablespaces[parts[0]] = parts[1]
    }
    return scope
  }
}
