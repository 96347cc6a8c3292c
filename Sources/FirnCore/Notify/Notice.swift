internal import Foundation
internal import Platform
internal import Transfer

/// A web service that receives the reports of runs. Its address is a secret: anyone who has it can send false
/// reports.
package struct Notice: Sendable {
  /// The reason why a report was not delivered.
  package struct Failure: Error, Sendable {
    /// Without the address.
    package let reason: String
  }

  private let url: String
  private let attempts: Int

  /// - Parameters:
  ///   - url: an address with `http://` or `https://`.
  ///   - isHurried: whether an operator waits for the end of the run; then there is only one attempt.
  package init(url: String, isHurried: Bool = false) {
    self.url = url
    attempts = isHurried ? 1 : 3
  }

  /// Tells a service such as Healthchecks what the run is at: `URL/start`, `URL`, `URL/fail` or `URL/log`.
  /// - Throws: `Failure` after three attempts at most, within half a minute.
  package func ping(_ report: RunReport, warningsAreFailures: Bool) throws(Failure) {
    let suffix =
      switch report.event {
      case .start: "/start"
      case .success: ""
      case .warning: warningsAreFailures ? "/fail" : ""
      case .failure: "/fail"
      case .cancelled: "/log"
      }
    let end = url.firstIndex { $0 == "?" || $0 == "#" } ?? url.endIndex
    let base = url[..<end].hasSuffix("/") ? url[..<end].dropLast() : url[..<end]
    var query = url[end...].prefix { $0 != "#" }
    query += query.isEmpty ? "?" : "&"
    // By this the service knows which end belongs to which start.
    try post(
      to: base + suffix + query + "rid=\(report.run.uuidString.lowercased())", type: "text/plain; charset=utf-8",
      Array(report.summary.utf8.prefix(10_000)))
  }

  /// Sends one JSON object.
  /// - Throws: `Failure`.
  package func send(json: [UInt8]) throws(Failure) { try post(to: url, type: "application/json", json) }

  private func post(to url: String, type: String, _ body: [UInt8]) throws(Failure) {
    var request = TransferRequest("POST", url)
    request.headers = [("Content-Type", type), ("User-Agent", "firn/\(Firn.version)")]
    request.body = .bytes(body)
    request.timeout = .seconds(8)
    request.connectTimeout = .seconds(5)
    var reason = ""
    for attempt in 0..<attempts {
      if attempt > 0 && Interruption.signal != nil { break }
      if attempt > 0 { Thread.sleep(forTimeInterval: Double(attempt)) }
      do throws(TransferError) {
        let response = try TransferEngine.shared.perform(request)
        if (200..<300).contains(response.status) { return }
        reason = "it answered with status \(response.status)"
        // The same request would be refused again.
        if response.status < 500 && response.status != 429 { break }
      } catch {
        reason = Self.words(error)
        if case .cancelled = error { break }
      }
    }
    throw Failure(reason: reason)
  }

  private static func words(_ error: TransferError) -> String {
    switch error {
    case .unreachable(let reason), .interrupted(let reason), .untrusted(let reason), .invalid(let reason): reason
    case .cancelled: "there was no time left"
    default: "it did not answer as a web server does"
    }
  }
}

/// A text for a web service, with a report's values in place of `{{summary}}`, `{{job}}` and others.
package struct NoticeTemplate: Sendable, Equatable {
  private let text: String

  private static func values(_ report: RunReport) -> [String: String] {
    [
      "summary": report.summary, "job": report.job.rawValue, "event": report.event.rawValue, "database": report.database ?? "",
      "source": report.source ?? "", "snapshot": report.snapshot ?? "", "host": Host.name, "error": report.error ?? "", "hint": report.hint ?? "",
      "exitCode": report.exitCode.map { "\($0)" } ?? "", "seconds": "\(Int(report.elapsed.inSeconds.rounded()))",
    ]
  }

  /// - Returns: nil if the result would be no valid JSON, or an unknown value is named.
  package init?(_ text: String) {
    self.text = text
    let example = filled(RunReport(job: .snapshot, startedAt: Date()))
    guard !text.contains("\0"), (try? JSONSerialization.jsonObject(with: Data(example), options: .fragmentsAllowed)) != nil,
      !String(decoding: example, as: UTF8.self).contains("{{")
    else { return nil }
  }

  init(trusted text: String) { self.text = text }

  /// JSON: what a word holds can't end the text it stands in.
  package func filled(_ report: RunReport) -> [UInt8] {
    var result = ""
    var rest = text[...]
    let values = Self.values(report)
    while let start = rest.firstRange(of: "{{"), let end = rest[start.upperBound...].firstRange(of: "}}") {
      let name = rest[start.upperBound..<end.lowerBound].trimmingCharacters(in: .whitespaces)
      result += rest[..<start.lowerBound] + (values[name].map(Self.escaped) ?? rest[start.lowerBound..<end.upperBound].description)
      rest = rest[end.upperBound...]
    }
    return Array((result + rest).utf8)
  }

  static func escaped(_ text: String) -> String {
    let quoted = (try? JSONEncoder().encode(text)).map { String(decoding: $0, as: UTF8.self) } ?? "\"\""
    return String(quoted.dropFirst().dropLast())
  }
}
