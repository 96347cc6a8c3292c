internal import FirnCore
internal import Foundation
internal import Platform

extension [Finding] {
  /// A table of findings, with a hint below those that need one.
  package var table: Table {
    var rows: [[Table.Cell]] = []
    for finding in self {
      rows.append([
        "", Table.Cell(finding.verdict.rawValue, finding.verdict.paint), Table.Cell(finding.name), Table.Cell(Self.line(finding.detail)),
      ])
      if let hint = finding.hint { rows.append(["", "", "", Table.Cell("(\(Self.line(hint)))")]) }
    }
    return Table(header: [], rows: rows)
  }

  /// Messages of libraries may have several lines.
  private static func line(_ text: String) -> String {
    text.split(whereSeparator: \.isNewline).map { $0.trimmingCharacters(in: .whitespaces) }.joined(separator: " ")
  }
}

extension Finding.Verdict {
  fileprivate var paint: Paint {
    switch self {
    case .pass: .good
    case .warn, .unknown: .warning
    case .stop: .bad
    }
  }
}
