/// A place in the write-ahead log, as `pg_lsn` has it: two hexadecimal numbers of 32 bits.
package struct LogPosition: Comparable, Sendable, CustomStringConvertible {
  private let value: UInt64
  package let description: String

  package init?(_ text: String) {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count == 2, let high = UInt32(parts[0], radix: 16), let low = UInt32(parts[1], radix: 16) else { return nil }
    value = UInt64(high) << 32 | UInt64(low)
    description = text
  }

  package static func < (left: Self, right: Self) -> Bool { left.value < right.value }
}
