internal import Platform

/// How fast objects may be deleted.
package struct DeletionPace: Sendable {
  /// Number of deletions between two checks of the lock.
  let batch: Int
  /// Waits as long as this many deletions must take.
  let pause: @Sendable (_ count: Int) throws -> Void

  package static let unlimited = DeletionPace(perSecond: nil)

  /// - Parameter perSecond: deletions a second; nil for no limit.
  package init(perSecond: Int?) {
    batch = min(perSecond ?? 128, 128)
    pause = { count in
      try Interruption.sleep(until: ContinuousClock.now + .seconds(perSecond.map { Double(count) / Double($0) } ?? 0))
    }
  }

  /// For tests that act between batches.
  package init(batch: Int, pause: @escaping @Sendable (_ count: Int) throws -> Void) {
    self.batch = batch
    self.pause = pause
  }
}
