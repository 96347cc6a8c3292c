internal import Platform

/// How fast objects may be deleted.
package struct DeletionPace: Sendable {
  /// How many go between two looks at the lock.
  let batch: Int
  /// Waits as long as so many have to take.
  let pause: @Sendable (_ count: Int) throws -> Void

  package static let unlimited = DeletionPace(perSecond: nil)

  /// - Parameter perSecond: deletions a second; nil for as fast as can be.
  package init(perSecond: Int?) {
    batch = min(perSecond ?? 128, 128)
    pause = { count in
      try Interruption.sleep(until: ContinuousClock.now + .seconds(perSecond.map { Double(count) / Double($0) } ?? 0))
    }
  }

  /// For tests that say what happens meanwhile.
  package init(batch: Int, pause: @escaping @Sendable (_ count: Int) throws -> Void) {
    self.batch = batch
    self.pause = pause
  }
}
