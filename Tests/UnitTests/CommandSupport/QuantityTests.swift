import CommandSupport
import Testing

@Suite struct `Quantities` {
  @Test func `are read as people write them`() {
    #expect(Quantity.bytes("512MiB") == 512 << 20)
    #expect(Quantity.bytes("1 GB") == 1_000_000_000)
    #expect(Quantity.bytes("4096") == 4096)
    for text in ["", "MB", "-1", "1.5GB", "1 XB", "99999999999999999999", "9999999999TB"] { #expect(Quantity.bytes(text) == nil, "\(text)") }
    #expect(Quantity.duration("250ms") == .milliseconds(250))
    #expect(Quantity.duration("30s") == .seconds(30) && Quantity.duration("0") == .zero)
    #expect(Quantity.duration("2h") == .seconds(7200))
    for text in ["", "s", "30", "-5s", "1 fortnight", "1e9"] { #expect(Quantity.duration(text) == nil, "\(text)") }
  }

  @Test func `are written with few digits`() {
    #expect(Quantity.size(0) == "0 B")
    #expect(Quantity.size(999) == "999 B")
    #expect(Quantity.size(1234) == "1.2 kB")
    #expect(Quantity.size(999_600) == "1.0 MB")
    #expect(Quantity.size(45_600_000_000) == "46 GB")
  }
}
