/// Facts about PostgreSQL's major versions: https://www.postgresql.org/support/versioning and
/// https://www.postgresql.org/support/security.
package struct ServerSupport: Sendable {
  /// The day of the last release, as `2027-11-11`.
  package let lastDay: String
  /// The first minor version whose pg_dump resists a hostile server: large objects that overrun it (CVE-2026-6477)
  /// and code injected into a script (CVE-2025-8714); nil if none was released.
  package let firstSafeMinor: Int?

  /// Versions that Firn serves.
  package static let known: [Int: ServerSupport] = [
    13: ServerSupport(lastDay: "2025-11-13", firstSafeMinor: nil),
    14: ServerSupport(lastDay: "2026-11-12", firstSafeMinor: 23),
    15: ServerSupport(lastDay: "2027-11-11", firstSafeMinor: 18),
    16: ServerSupport(lastDay: "2028-11-09", firstSafeMinor: 14),
    17: ServerSupport(lastDay: "2029-11-08", firstSafeMinor: 10),
    18: ServerSupport(lastDay: "2030-11-14", firstSafeMinor: 4),
  ]

  /// Major and minor of `15.18 (Debian 15.18-0+deb12u1)`.
  package static func numbers(in version: String) -> (major: Int, minor: Int)? {
    let parts = version.prefix { $0.isNumber || $0 == "." }.split(separator: ".")
    guard let major = parts.first.flatMap({ Int($0) }) else { return nil }
    return (major, parts.count > 1 ? Int(parts[1]) ?? 0 : 0)
  }
}
