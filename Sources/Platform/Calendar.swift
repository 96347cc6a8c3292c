package import Foundation

extension Calendar {
  package static func gregorian(in zone: TimeZone) -> Calendar {
    var calendar = Calendar(identifier: .gregorian)
    calendar.timeZone = zone
    return calendar
  }

  package static var utc: Calendar { gregorian(in: .gmt) }
}
