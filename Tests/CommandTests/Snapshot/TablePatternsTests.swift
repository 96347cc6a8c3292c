import FirnCore
import Foundation
import Platform
import Postgres
import TestSupport
import Testing

/// Patterns of tables, as stock `pg_dump` understands them.
@Suite struct `Patterns of tables for pg_dump` {
  private static let characters: [Unicode.Scalar] = Array("abA1_ .\"|*?()[]{^$\\+\n\t'é\u{301}日;!".unicodeScalars)

  private static func name(_ random: inout SeededRandom) -> String {
    let scalars = (0..<Int.random(in: 1...4, using: &random)).compactMap { _ in characters.randomElement(using: &random) }
    return String(String.UnicodeScalarView(scalars))
  }

  private static let servers = [TestServer.system, TestServer.version16, TestServer.version17, TestServer.version18]

  @Test(arguments: servers.indices) func `match the tables named, and no others, whatever the names are`(_ number: Int) throws {
    let server = try Self.servers[number].get()
    var random = SeededRandom(seed: UInt64(70 + number))
    func names(_ count: Int) -> Set<QualifiedName> {
      var names: Set<QualifiedName> = []
      while names.count < count { names.insert(QualifiedName(schema: "", name: Self.name(&random))) }
      return names
    }
    var excluded: [QualifiedName] = []
    var kept: Set<Int> = []
    var statements = ""
    var tables = 0
    func make(_ schema: String, _ names: some Sequence<QualifiedName>, excluding choice: Set<QualifiedName>) {
      statements += "CREATE SCHEMA \(Connection.identifier(schema));\n"
      for name in names {
        let table = QualifiedName(schema: schema, name: name.name)
        statements += "CREATE TABLE \(Connection.identifier(schema)).\(Connection.identifier(name.name)) AS SELECT \(tables) AS n;\n"
        if choice.contains(name) { excluded.append(table) } else { kept.insert(tables) }
        tables += 1
      }
    }
    for schema in names(8) {
      let names = names(60)
      make(schema.name, names, excluding: names.filter { _ in Bool.random(using: &random) })
    }
    // Tenants: the same tables in each, and one that differs.
    let shared = names(30)
    let choice = shared.filter { _ in Bool.random(using: &random) }
    for number in 1...12 { make("tenant \(number)", shared, excluding: choice) }
    make("tenant 13", shared, excluding: shared.subtracting(choice))
    // More than one pattern.
    let many = Set((0..<300).map { QualifiedName(schema: "", name: "a_rather_long_name_of_a_table_\($0)") })
    make("many", many, excluding: many.filter { _ in Int.random(in: 0..<10, using: &random) > 0 })

    let database = try server.makeDatabase()
    try server.sql(statements, in: database)
    let patterns = TablePatterns(excluded).patterns
    #expect(Set(patterns.flatMap(\.tables)) == Set(excluded))
    let arguments = patterns.flatMap { ["--exclude-table-data", $0.text] }
    let dump = try server.tool("pg_dump", ["--data-only"] + arguments, in: database)
    #expect(dump.exitCode == 0, "\(dump.errors)")
    let rows = String(decoding: dump.output, as: UTF8.self).split(separator: "\n").compactMap { Int($0) }
    #expect(rows.count == kept.count && Set(rows) == kept)
    #expect(kept.count > 300 && excluded.count > 400)
  }
}
