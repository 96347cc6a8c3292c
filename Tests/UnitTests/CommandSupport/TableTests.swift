import CommandSupport
import FirnCore
import Testing

@Suite struct `A table` {
  private let table = Table(
    header: ["DATABASE", "SNAPSHOT", "KIND", "AGE", "STATE", "PROOF"],
    rows: [
      ["shop", "20261122T020000Z-k3f9", "pre-migration", "2.3 h", "complete", "verified 12 days ago"],
      ["analytics", "20261122T020107Z-8u2c", "nightly", "44 min", "INCOMPLETE", "not verified"],
    ], details: [["the newest snapshot was taken 12 days ago, and that is longer than max-age in firn.yaml allows"]])

  @Test func `stands on one line for each row if there is room`() {
    let lines = table.lines(columns: nil)
    #expect(lines.count == 4 && lines[1].hasSuffix("complete    verified 12 days ago"), "\(lines)")
    #expect(lines[0].hasPrefix("DATABASE   SNAPSHOT               KIND"))
  }

  @Test(arguments: [80, 70, 60]) func `fits a narrow terminal without breaking words`(_ columns: Int) {
    let lines = table.lines(columns: columns)
    let words = Set(lines.joined(separator: " ").split(separator: " "))
    #expect(words.contains { $0.hasPrefix("pre-") })
    #expect(words.isSuperset(of: ["20261122T020000Z-k3f9", "INCOMPLETE", "verified"]), "\(lines)")
    if columns >= 70 { #expect(lines.allSatisfy { $0.count <= columns }, "\(lines)") }
    // A short column is not broken while a long one can be.
    if columns == 80 { #expect(lines.contains { $0.contains("2.3 h") }, "\(lines)") }
  }

  @Test func `keeps everything in the narrowest terminal`() {
    let words = Set(table.lines(columns: 20).joined(separator: " ").split(separator: " "))
    #expect(words.isSuperset(of: ["20261122T020107Z-8u2c", "analytics", "min", "nightly", "max-age"]))
  }

  @Test func `shows a line feed in a name as an escape`() {
    #expect(Table(header: ["A"], rows: [[.init("z\nshop")]]).lines(columns: 80)[1] == "z\\u{a}shop")
  }
}

@Suite struct `A progress line` {
  private let state: WorkProgress.State = {
    var state = WorkProgress.State()
    (state.phase, state.item, state.done, state.expected) = ("dumping", "public.orders", 50_000_000, 100_000_000)
    return state
  }()

  @Test(arguments: [20, 40, 70, 80, 100, 500]) func `fits its terminal`(_ columns: Int) {
    let line = ProgressLine.line(state, columns: columns)
    #expect(line.count < columns && line.hasPrefix("dumping"), "\(line)")
    if columns >= 100 { #expect(line.contains("[##########..........] 50 %") && line.hasSuffix("public.orders"), "\(line)") }
  }

  @Test func `shows no bar without an expected total`() {
    var state = state
    state.expected = nil
    #expect(!ProgressLine.line(state, columns: 120).contains("["))
  }
}
