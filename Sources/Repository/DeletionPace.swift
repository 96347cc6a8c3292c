internal import Platform

/// How fast objects may be deleted.
package struct DeletionPace: Sendable {
  /// Nil for as fast as can be.
  private let perSecond: Int?
  package static let unlimited = DeletionPace(perSecond: nil)

  /// - Parameter perSecond: deletions a second.
  package init(perSecond: Int?) { self.perSecond = perSecond }

  /// How many go between two looks at the lock.
  var batch: Int { min(perSecond ?? 128, 128) }

  /// Waits as long as a batch has to take.
  /// - Throws: `Interruption`.
  func pause(after count: Int) throws {
    try Interruption.sleep(until: ContinuousClock.now + .seconds(perSecond.map { Double(count) / Double($0) } ?? 0))
  }
}
