import Postgres
import Testing

@Suite struct `Connection settings` {
  @Test func `come from a URL as Rails writes it, without what libpq doesn't know`() throws {
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

  @Test(arguments: [
    "postgres://app?p%40ss%2Fhunter2@localhost/postgres?sslmode=require", "postgresql://u:hunter2?x@h/d", "postgresql://u:p/hunter2@h/d",
    "postgresql://u:12/hunter2@h/d", "postgresql://u:hunter2#x@h/d", "postgresql://u:pass?hunter2=1@h/d",
    "postgresql://u:hun@hunter2/2@127.0.0.1:5432/d", "postgresql://u:hun@hunter2#2@h/d", "postgresql://u:p@hunter2#w?rd/x@h/d",
  ])
  func `with characters in a password that have to be escaped say so, and print nothing of it`(_ text: String) {
    do {
      let settings = try ConnectionSettings(text)
      Issue.record("\(text) was taken: \(settings.parameters)")
    } catch PostgresError.invalidURL(let reason) {
      #expect(!reason.contains("hunter2") && reason.contains("write @ as %40"), "\(reason)")
    } catch { Issue.record(error) }
  }

  @Test func `name no unknown parameter that looks like no name`() throws {
    let settings = try ConnectionSettings("postgresql://h/d?hunter2&Hunter2=x&pool=5&a%20hunter2=1")
    #expect(settings.dropped.sorted() == ["one whose name is not shown", "one whose name is not shown", "one whose name is not shown", "pool"])
  }
}
