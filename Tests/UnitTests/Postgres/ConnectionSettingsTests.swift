import Postgres
import Testing

@Suite struct `Connection settings` {
  @Test func `come from a URL as Rails writes it, but for what libpq doesn't know`() throws {
    let settings = try ConnectionSettings(
      "postgis://us%40er:p%3Aa%2Fs%40s@db.example:6543/my%20db?pool=5&sslmode=require&prepared_statements=false&connect_timeout=3")
    #expect(
      settings.parameters == [
        "user": "us@er", "password": "p:a/s@s", "host": "db.example", "port": "6543", "dbname": "my db", "sslmode": "require",
        "connect_timeout": "3",
      ])
    #expect(settings.dropped == ["pool", "prepared_statements"])
  }

  @Test(arguments: [
    ("postgresql:///app", ["dbname": "app"]),
    ("postgres://localhost", ["host": "localhost"]),
    ("postgresql://[::1]:5433/app", ["host": "::1", "port": "5433", "dbname": "app"]),
    ("postgresql://a:1,b:2/app?target_session_attrs=any", ["host": "a,b", "port": "1,2", "dbname": "app", "target_session_attrs": "any"]),
    ("postgresql://%2Fvar%2Frun%2Fpg/app", ["host": "/var/run/pg", "dbname": "app"]),
    ("postgresql:///app?host=/tmp&user=me", ["host": "/tmp", "user": "me", "dbname": "app"]),
    ("postgresql://u@h/a=b", ["user": "u", "host": "h", "dbname": "a=b"]),
    ("postgresql://u:p@ss@h/db#part", ["user": "u", "password": "p@ss", "host": "h", "dbname": "db"]),
    ("host=h dbname='my db' password='it\\'s'", ["host": "h", "dbname": "my db", "password": "it's"]),
    ("POSTGRESQL://h/d?sslmode=no-verify", ["host": "h", "dbname": "d", "sslmode": "require"]),
  ])
  func `take each form there is`(_ text: String, _ parameters: [String: String]) throws {
    #expect(try ConnectionSettings(text).parameters == parameters)
  }

  @Test(arguments: [
    "mysql://u:hunter2@h/d", "postgresql://u:hunter2%@h/d", "postgresql://u:hunter2@h:x/d", "password=hunter2 host='open", "hunter2",
    "postgresql://u:hunter2@[::1]x/d", "postgresql://u:hunter2@h/d%00",
  ])
  func `are refused without a word of the password`(_ text: String) {
    do {
      _ = try ConnectionSettings(text)
      Issue.record("\(text) was taken")
    } catch {
      #expect(!"\(error)".contains("hunter2"))
    }
  }
}
