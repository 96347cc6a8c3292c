import FirnCore
import Postgres
import Testing

/// How tables are named for `pg_dump --exclude-table-data`.
@Suite struct `A pattern of tables` {
  private static func patterns(_ names: [String: [String]]) -> [String] {
    TablePatterns(names.flatMap { schema, names in names.map { QualifiedName(schema: schema, name: $0) } }).patterns.map(\.text)
  }

  @Test func `is a tree of what names have in common`() {
    #expect(Self.patterns(["public": ["orders"]]) == ["public.orders"])
    #expect(Self.patterns(["public": ["order", "orders", "old"]]) == ["public.o(ld|rder(|s))"])
    #expect(Self.patterns(["public": ["e_01", "e_02", "e_11", "e_12", "e_2"]]) == ["public.e_([01][12]|2)"])
  }

  @Test func `quotes what pg_dump would change`() {
    #expect(Self.patterns(["S": ["a.b", "a\"", "a|", "aé", "aß"]]) == [#""S".a((""""|"|"|"ß"|"é")|".b")"#])
    #expect(Self.patterns(["s": ["Ab", "AB"]]) == [#"s."A"("B"|b)"#])
    // The same for Unicode, and two names for PostgreSQL.
    #expect(Self.patterns(["s": ["\u{e9}", "e\u{301}"]]) == ["s.(\"e\u{301}\"|\"\u{e9}\")"])
  }

  @Test func `is shared by schemas whose tables have the same names, and by no others`() {
    let patterns = Self.patterns(["tenant_1": ["a", "b"], "tenant_2": ["b", "a"], "tenant_3": ["a"]])
    #expect(Set(patterns) == ["tenant_[12].[ab]", "tenant_3.a"])
    // Each of the tenants has changed another table: what they have in common is a table that has not changed in most of them.
    let tables = ["a", "b", "c"]
    let many = Self.patterns(
      (0..<30).reduce(into: [:]) { all, tenant in
        all["tenant_\(tenant)"] = tables.enumerated().filter { tenant >> $0.offset & 1 == 0 || tenant < 16 && $0.offset == 0 }.map(\.element)
      })
    #expect(many.count == 3, "\(many)")
  }

  @Test func `is divided if it would be too long`() {
    let patterns = Self.patterns(["public": (0..<500).map { "table_\($0 * 7919 % 10_000)_\($0)" }])
    #expect(patterns.count > 3 && patterns.allSatisfy { $0.hasPrefix("public.table_") && $0.utf8.count < 4096 })
  }
}
