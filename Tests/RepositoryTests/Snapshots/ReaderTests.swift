import Foundation
import TestSupport
import Testing

/// A short walk with seeds of its own; scripts/fuzz goes further, led by what code each input reaches.
@Suite struct `The readers of a store and its configuration` {
  @Test(arguments: FuzzedReader.allCases) func `end with an error, whatever they are given`(_ reader: FuzzedReader) throws {
    let samples = try reader.samples()
    try #require(!samples.isEmpty)
    for sample in samples { #expect(reader.read(sample), "\(reader) takes what is right") }
    var refused = 0
    let deadline = Date().addingTimeInterval(Double(ProcessInfo.processInfo.environment["FIRN_FUZZ_SECONDS"] ?? "") ?? 2)
    var seed: UInt64 = 0
    while Date() < deadline {
      var mutation = Mutation(seed: seed)
      seed += 1
      if !reader.read(mutation.change(samples)) { refused += 1 }
    }
    // Any text is a script of statements, of which most mean nothing.
    #expect(refused > 0 || reader == .globals)
  }

  @Test func `refuse an archive whose integers are too small for the text that a restore writes into it`() {
    func text(_ bytes: [UInt8] = []) -> [UInt8] { [0, UInt8(bytes.count)] + bytes }
    let none: [UInt8] = [1, 1]
    // Integers of one byte, and one entry with the longest definition that they can count.
    var archive = Array("PGDMP".utf8) + [1, 14, 0, 1, 8, 5]
    for _ in 0..<11 { archive += text() }
    archive += [0, 1]
    archive += [0, 1, 0, 0] + text() + text(Array("0".utf8)) + text() + text() + [0, 1] + text([UInt8](repeating: 0x78, count: 255))
    for _ in 0..<7 { archive += text() }
    archive += none + text()
    #expect(!FuzzedReader.archive.read(archive))
  }
}

/// Changes of bytes such as disks, editors and attackers make.
private struct Mutation {
  private var random: SeededRandom
  private static let words = [
    "9223372036854775807", "-1", "4294967296", "1e999", "null", "[[[[[[[[", "{\"a\":", "\t", "\n", "O\t", "f\t", "S\t", "h\t", "F\t", "@\t", "E\t",
    "  ", "../", "\u{0}", "&a [*a]", "*a", "!!binary ", "\"", "%", "é", "\u{1F9CA}",
  ].map { Array($0.utf8) }

  init(seed: UInt64) { random = SeededRandom(seed: seed) }

  mutating func change(_ samples: [[UInt8]]) -> [UInt8] {
    var bytes = samples[below(samples.count)]
    for _ in 0...below(4) { step(&bytes) }
    return bytes
  }

  private mutating func below(_ limit: Int) -> Int { Int.random(in: 0..<max(limit, 1), using: &random) }

  private mutating func range(in bytes: [UInt8]) -> Range<Int> {
    let start = below(bytes.count)
    return start..<(start + below(min(bytes.count - start, 1 << below(12))))
  }

  private mutating func step(_ bytes: inout [UInt8]) {
    guard !bytes.isEmpty else { return bytes = Self.words[below(Self.words.count)] }
    switch below(7) {
    case 0: bytes[below(bytes.count)] ^= UInt8(1 << below(8))
    case 1: bytes[below(bytes.count)] = UInt8(below(256))
    case 2: bytes.removeSubrange(range(in: bytes))
    case 3: bytes.insert(contentsOf: bytes[range(in: bytes)], at: below(bytes.count))
    case 4: bytes.insert(contentsOf: Self.words[below(Self.words.count)], at: below(bytes.count))
    case 5: bytes.removeLast(below(bytes.count))
    default:
      // A number becomes another one.
      let start = below(bytes.count)
      guard let first = bytes[start...].firstIndex(where: { (0x30...0x39).contains($0) }) else { return }
      let end = bytes[first...].firstIndex { !(0x30...0x39).contains($0) } ?? bytes.count
      bytes.replaceSubrange(first..<end, with: Array("\(random.next() as UInt64 >> UInt64(below(64)))".utf8))
    }
  }
}
