internal import Foundation
internal import Synchronization

/// Closed until it is opened, once.
package final class Gate: Sendable {
  private let monitor = Monitor(false)
  package init() {}
  package func open() { monitor.update { $0 = true } }
  package func wait() { monitor.wait(until: { $0 }) { _ in } }
}

/// A queue of bounded length between threads.
package final class BoundedQueue<Element: Sendable>: Sendable {
  private struct State: Sendable {
    var elements: [Element] = []
    var isClosed = false
  }
  private let monitor = Monitor(State())
  private let capacity: Int

  /// - Parameter capacity: small; taking an element moves the others up.
  package init(capacity: Int) { self.capacity = capacity }

  /// Adds an element, waiting for room. Nothing is added to a closed queue.
  package func push(_ element: Element) {
    monitor.wait(until: { [capacity] in $0.elements.count < capacity || $0.isClosed }) {
      if !$0.isClosed { $0.elements.append(element) }
    }
  }

  /// The oldest element, waiting for one; nil when the queue is closed and empty.
  package func pop() -> Element? {
    monitor.wait(until: { !$0.elements.isEmpty || $0.isClosed }) { $0.elements.isEmpty ? nil : $0.elements.removeFirst() }
  }

  package func close() { monitor.update { $0.isClosed = true } }
}

/// The first failure among several threads; the others look at it and stop.
package final class FirstFailure: Sendable {
  private let state = Mutex<(any Error)?>(nil)

  package init() {}

  package func record(_ error: any Error) { state.withLock { if $0 == nil { $0 = error } } }
  package var error: (any Error)? { state.withLock { $0 } }
  package func check() throws { if let error { throw error } }

  /// Runs `body` and records what it throws.
  package func capture(_ body: () throws -> Void) {
    do { try body() } catch { record(error) }
  }
}

/// Works on the elements with as many threads as there are processors, the last element first. One thread is the caller's own.
/// - Throws: the first error of `body`, after which no further element is begun, or `Interruption`.
package func forEachInParallel<Element: Sendable>(
  _ elements: [Element], thread name: String, threads count: Int = processorCount, _ body: @escaping @Sendable (Element) throws -> Void
) throws {
  guard min(count, elements.count) > 1 else {
    for element in elements.reversed() {
      try Interruption.check()
      try body(element)
    }
    return
  }
  let queue = Monitor(elements)
  let failure = FirstFailure()
  let threads = (0..<min(count, elements.count)).map { _ in
    WorkerThread(name: name) {
      failure.capture {
        while failure.error == nil, let element = queue.update({ $0.popLast() }) {
          try Interruption.check()
          try body(element)
        }
      }
    }
  }
  for thread in threads { thread.join() }
  try failure.check()
}

/// The number of processors this process may use.
package var processorCount: Int { ProcessInfo.processInfo.activeProcessorCount }
