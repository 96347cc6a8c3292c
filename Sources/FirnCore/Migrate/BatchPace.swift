/// How many rows a batch has, by how long the server worked on those before.
package struct BatchPace {
  /// Smaller batches help no other session: the fixed cost of a batch weighs more, such as a scan without an index.
  private static let least = 50
  /// A batch that takes as long is in the way whatever it costs to make it smaller.
  private static let unbearable: Duration = .milliseconds(250)
  /// If no other session is at work, one that comes waits at most about this long.
  private static let longestAlone: Duration = .milliseconds(100)

  package let most: Int
  package let longest: Duration
  package private(set) var size: Int

  package init(most: Int, longest: Duration) {
    self.most = most
    self.longest = longest
    // The cost of a row is not known yet.
    size = min(most, 100)
  }

  /// - Parameter isAlone: whether no other session was at work.
  package mutating func adapt(to worked: Duration, isAlone: Bool = false) {
    let longest = isAlone ? max(longest, Self.longestAlone) : longest
    if worked > max(longest, Self.unbearable) {
      halve()
    } else if worked > longest {
      size = max(size / 2, min(size, Self.least))
    } else if worked * 2 < longest {
      size = min(most, size + max(1, size / 4))
    }
  }

  package mutating func halve() { size = max(1, size / 2) }
}
