internal import Foundation
internal import Synchronization

/// A value that threads share, and can wait on for a change.
package final class Monitor<Value: Sendable>: @unchecked Sendable {
  // Sound: `value` is touched only while `condition` is held.
  private let condition = NSCondition()
  private var value: Value

  package init(_ value: Value) { self.value = value }

  /// Changes the value and wakes all who wait.
  package func update<Result>(_ body: (inout Value) throws -> Result) rethrows -> Result {
    condition.lock()
    defer {
      condition.broadcast()
      condition.unlock()
    }
    return try body(&value)
  }

  package var current: Value {
    condition.lock()
    defer { condition.unlock() }
    return value
  }

  /// Waits until `isReady`, then runs `body` on the value.
  package func wait<Result>(until isReady: (Value) -> Bool, _ body: (inout Value) throws -> Result) rethrows -> Result {
    condition.lock()
    defer {
      condition.broadcast()
      condition.unlock()
    }
    while !isReady(value) { condition.wait() }
    return try body(&value)
  }

  /// Waits until `isReady` or the timeout; returns whether it is ready.
  package func wait(atMost timeout: Duration, until isReady: (Value) -> Bool) -> Bool {
    let deadline = Date(timeIntervalSinceNow: timeout.inSeconds)
    condition.lock()
    defer { condition.unlock() }
    while !isReady(value) {
      if !condition.wait(until: deadline) { return isReady(value) }
    }
    return true
  }
}
