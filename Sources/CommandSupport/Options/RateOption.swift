package import ArgumentParser
package import Repository

/// `--max-rate`, for commands that move bytes to and from stores.
package struct RateOption: ParsableArguments {
  @Option(
    help: ArgumentHelp(
      "Limit bandwidth to and from the store, in bytes per second, such as 50MB. Each store has its own limit. Default: no limit.", valueName: "bytes"
    ))
  package var maxRate: String?

  package init() {}

  /// The store, held up where a rate was named. Each store has the rate for itself.
  /// - Throws: `UsageError`.
  package func limited(_ store: any Store) throws -> any Store {
    guard let maxRate else { return store }
    guard let rate = Quantity.bytes(maxRate), rate >= 1024 else {
      throw UsageError("--max-rate takes bytes a second such as 50MB, not \(maxRate)", hint: "1KiB is the least")
    }
    return ThrottledStore(store, rate: rate)
  }
}
