internal import Foundation
internal import Platform

/// Asks again where the answer may be another one later: after longer and longer pauses, of which a part is left to chance, so that
/// many who were turned away don't come back at once.
package struct Retries: Sendable {
  /// How often it is asked in all.
  package var attempts: Int
  package var firstPause: Duration
  package var longestPause: Duration

  /// - Parameters:
  ///   - attempts: at least 1.
  package init(attempts: Int = 12, firstPause: Duration = .milliseconds(250), longestPause: Duration = .seconds(10)) {
    self.attempts = attempts
    self.firstPause = firstPause
    self.longestPause = longestPause
  }

  /// Statuses of a server that is overloaded, or not well (RFC 9110, 15).
  private static let passing: Set<Int> = [408, 425, 429, 500, 502, 503, 504]

  /// - Parameters:
  ///   - isPassing: whether an unusual answer may be temporary.
  ///   - body: sends the request; called again for each attempt, as signatures hold for minutes.
  /// - Returns: the last answer, whatever its status.
  /// - Throws: the last error. After a signal, nothing is tried again.
  package func run(isPassing: (TransferResponse) -> Bool = { _ in false }, _ body: () throws -> TransferResponse) throws -> TransferResponse {
    var attempt = 1
    while true {
      let result = Result { try body() }
      var asked: Duration?
      switch result {
      case .success(var response):
        response.attempts = attempt
        guard Self.passing.contains(response.status) || isPassing(response) else { return response }
        // A date is passed over: our pauses are as long.
        asked = response.headers["retry-after"].flatMap(Int.init).map { .seconds(min(max(0, $0), 60)) }
      case .failure(let error):
        switch error as? TransferError {
        case .unreachable, .interrupted: break
        default: throw error
        }
      }
      guard attempt < attempts, Interruption.signal == nil else { return try result.get() }
      let pause = min(longestPause, firstPause * Double(1 << (attempt - 1)))
      let end = ContinuousClock.now + min(.seconds(60), max(asked ?? .zero, pause * Double.random(in: 0.5...1)))
      do { try Interruption.sleep(until: end) } catch { return try result.get() }
      attempt += 1
    }
  }
}
