import FirnCore
import Testing

@Suite struct `A column's version that a server keeps for itself` {
  @Test func `is taken out of a definition, and other options stay`() {
    let definition = """
      CREATE TABLE public.t (
          a bigint DEFAULT 'pg_attver=1'::text
      );


      ALTER TABLE ONLY public.t ALTER COLUMN a SET (pg_attver=7286678800);
      ALTER TABLE ONLY public.t ALTER COLUMN b SET (pg_attver=7286678800, n_distinct=5);
      ALTER TABLE ONLY public.t ALTER COLUMN c SET (n_distinct=5);

      """
    #expect(
      withoutColumnVersions(definition) == """
        CREATE TABLE public.t (
            a bigint DEFAULT 'pg_attver=1'::text
        );


        ALTER TABLE ONLY public.t ALTER COLUMN b SET (n_distinct=5);
        ALTER TABLE ONLY public.t ALTER COLUMN c SET (n_distinct=5);

        """)
  }
}
