package import Foundation

extension Calendar {
  /// The Gregorian calendar of a time zone.
  package static func gregorian(in zone: TimeZone) -> Calendar {
    var calendar = Calendar(identifier: .gregorian)
    calendar.timeZone = zone
    return calendar
  }

  /// The Gregorian calendar in UTC.
  package static var utc: Calendar { gregorian(in: .gmt) }
}
