/// Where periods begin and end: a time zone.
package struct RetentionCalendar: Sendable {
  /// As users name it, such as `Europe/Berlin`.
  package let name: String
  /// How far the zone's clocks are ahead of UTC at a moment in seconds since 1970, in seconds.
  package let secondsAheadOfUTC: @Sendable (Int64) -> Int64

  package init(name: String, secondsAheadOfUTC: @escaping @Sendable (Int64) -> Int64) {
    self.name = name
    self.secondsAheadOfUTC = secondsAheadOfUTC
  }

  package static let utc = RetentionCalendar(name: "UTC") { _ in 0 }

  /// The month as `2026-11`, and the day in it.
  package func monthAndDay(of moment: Int64) -> (month: String, day: Int) {
    let date = date(of: moment)
    return (date.month, date.dayOfMonth)
  }

  func date(of moment: Int64) -> CalendarDate { CalendarDate(secondsSince1970: moment, ahead: secondsAheadOfUTC(moment)) }
}

/// A moment as the Gregorian calendar and a zone's clocks show it.
struct CalendarDate {
  private let daysSince1970: Int64
  private let secondOfDay: Int64
  /// The zone's offset: distinguishes the two hours of the same name when clocks are put back.
  private let ahead: Int64
  private let yearNumber: Int64
  private let monthNumber: Int64
  private let dayNumber: Int64

  /// By the algorithm `civil_from_days` of Howard Hinnant's "chrono-Compatible Low-Level Date Algorithms": years that
  /// begin in March, in eras of 400 years.
  init(secondsSince1970 moment: Int64, ahead: Int64 = 0) {
    let seconds = moment + ahead
    self.ahead = ahead
    secondOfDay = seconds - Self.floored(seconds, 86400) * 86400
    daysSince1970 = Self.floored(seconds, 86400)
    let shifted = daysSince1970 + 719_468
    let era = Self.floored(shifted, 146_097)
    let dayOfEra = shifted - era * 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let shiftedMonth = (5 * dayOfYear + 2) / 153
    dayNumber = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
    monthNumber = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
    yearNumber = yearOfEra + era * 400 + (monthNumber <= 2 ? 1 : 0)
  }

  private static func floored(_ number: Int64, _ divisor: Int64) -> Int64 {
    number >= 0 ? number / divisor : -((-number + divisor - 1) / divisor)
  }

  private static func two(_ number: Int64) -> String { number < 10 ? "0\(number)" : "\(number)" }

  var year: String { "\(yearNumber)" }
  var month: String { "\(yearNumber)-\(Self.two(monthNumber))" }
  var dayOfMonth: Int { Int(dayNumber) }
  var quarter: String { "\(yearNumber)-Q\((monthNumber + 2) / 3)" }
  var hour: String {
    let offset = ahead == 0 ? "" : " (UTC\(ahead < 0 ? "-" : "+")\(Self.two(abs(ahead) / 3600)):\(Self.two(abs(ahead) / 60 % 60)))"
    return "\(day) \(Self.two(secondOfDay / 3600)):00\(offset)"
  }
  var day: String { "\(month)-\(Self.two(dayNumber))" }

  /// By its Monday, as `week of 2026-11-23`. The first day of 1970 was a Thursday.
  var week: String {
    let monday = Self.floored(daysSince1970 + 3, 7) * 7 - 3
    return "week of \(CalendarDate(secondsSince1970: monday * 86400).day)"
  }
}
