internal import Foundation

/// How many cases the tests of random cases try.
package enum Thoroughness {
  /// - Parameter thorough: the number if `FIRN_TEST_THOROUGH` is set: for a change of the code that such a test is about.
  package static func count(_ usual: Int, thorough: Int) -> Int {
    ProcessInfo.processInfo.environment["FIRN_TEST_THOROUGH"] == nil ? usual : thorough
  }
}
