/// How many rows a batch has, by how long the server worked on those before.
package struct BatchPace {
  /// Smaller batches help no other session: the fixed cost of a batch weighs more, such as a scan without an index.
  private static let least = 50
  /// A batch that takes as long is in the way whatever it costs to make it smaller.
  private static let unbearable: Duration = .milliseconds(250)

  package let most: Int
  package let longest: Duration
  package private(set) var size: Int

  package init(most: Int, longest: Duration) {
    self.most = most
    self.longest = longest
    // The cost of a row is not known yet.
    size = min(most, 100)
  }

  package mutating func adapt(to worked: Duration) {
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
