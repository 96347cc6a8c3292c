/// A relation that amcheck can look at.
package struct CheckableRelation: Sendable {
  package let oid: UInt32
  package let name: String
  package let isIndex: Bool
}

extension Connection {
  /// Creates amcheck if it is missing, whatever event triggers would say of that.
  /// - Returns: its schema.
  package func installAmcheck() throws -> String {
    try execute(
      "SET session_replication_role = replica; CREATE EXTENSION IF NOT EXISTS amcheck WITH SCHEMA pg_catalog; RESET session_replication_role")
    return try value(
      "SELECT n.nspname FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace WHERE extname = 'amcheck'")
      ?? "pg_catalog"
  }

  /// Tables, materialized views and B-tree indexes of users.
  package func checkableRelations() throws -> [CheckableRelation] {
    try rows(
      """
      SELECT c.oid, c.oid::pg_catalog.regclass::text, c.relkind = 'i' FROM pg_catalog.pg_class c JOIN pg_catalog.pg_am m ON m.oid = c.relam
        LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid
      WHERE c.oid >= 16384 AND c.relpersistence <> 't' AND (c.relkind IN ('r', 'm') AND m.amname = 'heap' AND \(serverMajor >= 14)
        OR c.relkind = 'i' AND m.amname = 'btree' AND i.indisready AND i.indisvalid) ORDER BY c.relpages
      """
    ).map { CheckableRelation(oid: UInt32($0[0] ?? "") ?? 0, name: $0[1] ?? "", isIndex: $0[2] == "t") }
  }

  /// Checks a table or index with amcheck.
  /// - Parameter schema: the schema of the extension amcheck.
  /// - Returns: descriptions of the damage.
  /// - Throws: `PostgresError.statementFailed` if it can't be checked: a function in an index may fail.
  package func damage(in relation: CheckableRelation, amcheck schema: String) throws -> [String] {
    let schema = Self.identifier(schema)
    do {
      if relation.isIndex {
        _ = try rows("SELECT \(schema).bt_index_check($1::pg_catalog.oid, true)", ["\(relation.oid)"])
        return []
      }
      return try rows("SELECT msg FROM \(schema).verify_heapam($1::pg_catalog.oid, check_toast => true) LIMIT 10", ["\(relation.oid)"]).compactMap {
        $0[0]
      }
    } catch PostgresError.statementFailed(let message, let state) where [SQLState.dataCorrupted, SQLState.indexCorrupted].contains(state) {
      // data_corrupted, index_corrupted
      return [message]
    }
  }
}
