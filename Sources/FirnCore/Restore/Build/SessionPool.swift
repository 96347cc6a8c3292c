internal import Platform
internal import Postgres

/// Works on elements over several sessions at once, the last element first.
/// - Parameter open: opens a session, on the thread that uses it.
/// - Throws: the first error of `open` or `body`, after which no further element is begun, or `Interruption`.
func forEachOverSessions<Element: Sendable>(
  _ elements: [Element], sessions: Int, open: @escaping @Sendable () throws -> Connection,
  _ body: @escaping @Sendable (Element, Connection) throws -> Void
) throws {
  let waiting = Monitor(elements)
  let failure = FirstFailure()
  let threads = (0..<min(max(1, sessions), elements.count)).map { _ in
    WorkerThread(name: "session") {
      failure.capture {
        let connection = try open()
        connection.check = {
          try Interruption.check()
          try failure.check()
        }
        while failure.error == nil, let element = waiting.update({ $0.popLast() }) {
          try Interruption.check()
          try body(element, connection)
        }
      }
    }
  }
  for thread in threads { thread.join() }
  try failure.check()
}
